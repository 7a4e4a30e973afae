from __future__ import annotations

import fcntl
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.training import activation_file

from .conftest import PLENTY, Opens, cut, fill, items, kept_bytes, keys, sql

WORKER = """
import hashlib, pathlib, random, sys
from finetune.training.activation_cache import ActivationCache
path, first, count, capacity = pathlib.Path(sys.argv[1]), *map(int, sys.argv[2:])
def items(numbers):
    keys = [hashlib.sha256(str(i).encode()).digest() for i in numbers]
    return {key: hashlib.shake_128(key).digest(3_000) for key in keys}
def note(sentence):
    print("note", sentence, flush=True)
print("ready", flush=True)
sys.stdin.readline()
with ActivationCache(path, capacity, note) as cache:
    for i in range(first, first + count, 16):
        new = items(range(i, i + 16))
        cache.put(new)
        print(i, flush=True)
        seen = items(random.Random(i).sample(range(1_000), 50))
        if not cache.get(list(seen)).items() <= seen.items():
            print("note a wrong value", flush=True)
"""


def worker(path: Path, first: int, count: int, capacity_bytes: int) -> subprocess.Popen[str]:
    """Start a run that is ready to put ``count`` values from ``first`` on, and waits for a line to do so."""
    run = subprocess.Popen(
        [sys.executable, "-W", "error", "-c", WORKER, str(path), str(first), str(count), str(capacity_bytes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "ready\n"
    return run


def start(*runs: subprocess.Popen[str]) -> None:
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("\n")
        run.stdin.flush()


def said(*runs: subprocess.Popen[str]) -> list[str]:
    """Wait for the runs to end well, and return their notes."""
    lines = [line for run in runs for line in run.communicate()[0].splitlines()]
    assert [run.returncode for run in runs] == [0] * len(runs)
    return [line for line in lines if line.startswith("note")]


def test_runs_at_once_lose_nothing_and_find_nothing_wrong(path: Path, cache: Opens) -> None:
    runs = [worker(path, first, 320, PLENTY) for first in (0, 160, 480)]  # two of them put some of the same
    start(*runs)

    assert said(*runs) == []
    assert cache().get(keys(range(800))) == items(range(800))


def test_runs_at_once_keep_the_capacity(path: Path) -> None:
    runs = [worker(path, first, 320, 100_000) for first in (0, 320)]
    start(*runs)

    assert said(*runs) == []
    assert 90_000 < kept_bytes(path) <= 100_000


@pytest.mark.parametrize("harm", [lambda path: sql(path, "PRAGMA user_version = 2"), lambda path: cut(path, 80)])
def test_runs_that_begin_together_on_a_bad_file_share_the_new_one(
    path: Path, cache: Opens, notes: list[str], harm: Callable[[Path], None]
) -> None:
    fill(path, items([5_000]))
    harm(path)
    runs = [worker(path, first, 160, PLENTY) for first in (0, 160, 320)]
    start(*runs)

    assert all(note.endswith("it is made anew.") for note in said(*runs))
    assert cache().get(keys(range(6_000))) == items(range(480))
    assert notes == []


def test_a_run_that_has_the_file_open_while_another_replaces_it_goes_on(
    path: Path, cache: Opens, notes: list[str]
) -> None:
    one, other = cache(), cache()
    one.put(items([0]))
    sql(path, "PRAGMA user_version = 2")
    other.put(items([1]))
    one.put(items([2]))
    one.close()
    other.put(items([3]))

    assert cache().get(keys(range(4))) == items([1, 3])
    assert len(notes) == 1


def test_a_run_whose_file_was_replaced_does_not_replace_the_new_one(path: Path, cache: Opens, notes: list[str]) -> None:
    one, other = cache(), cache()
    one.put(items([0]))
    sql(path, "DROP TABLE value", "PRAGMA user_version = 2")
    other.put(items([1]))

    assert one.get(keys([0])) == {}  # it finds its table gone
    assert one.get(keys([1])) == other.get(keys([1])) == items([1])
    assert len(notes) == 2


def is_locked(folder: Path) -> bool:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def test_one_run_at_a_time_opens_and_replaces_the_file(
    path: Path, cache: Opens, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(path, items([0]))
    cut(path, 80)
    locked: list[bool] = []
    opens, removes = activation_file._open, Path.unlink
    monkeypatch.setattr(activation_file, "_open", lambda file: locked.append(is_locked(path.parent)) or opens(file))
    monkeypatch.setattr(Path, "unlink", lambda *a, **k: locked.append(is_locked(path.parent)) or removes(*a, **k))
    cache().put(items([1]))

    assert locked == [True] * 6  # opened, four files removed, opened again
    assert not is_locked(path.parent)


def test_a_run_that_stopped_while_it_opened_the_file_holds_nobody_up(
    path: Path, cache: Opens, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activation_file, "LOCK_SECONDS", 0.01)
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        one = cache()
        one.put(items([0]))
    finally:
        os.close(descriptor)

    assert one.get(keys([0])) == items([0])
    assert notes == []


def test_what_another_run_drives_out_is_only_missed(cache: Opens, notes: list[str]) -> None:
    one, other = cache(30_000), cache(30_000)
    one.put(items(range(10)))
    other.put(items(range(100, 107)))
    found = one.get(keys(range(10)))
    one.put(items(range(10)))

    assert found == items([7, 8, 9])
    assert one.get(keys(range(10))) == items(range(10))
    assert notes == []


@pytest.mark.parametrize("seed", range(12))
def test_a_kill_at_any_instant_costs_no_more_than_what_was_not_yet_kept(path: Path, cache: Opens, seed: int) -> None:
    chance, kept = random.Random(seed), set[int]()
    for _ in range(3):
        first = chance.randrange(40) * 16
        with worker(path, first, 100_000, PLENTY) as run:
            start(run)
            assert run.stdout is not None
            for _ in range(chance.randrange(8)):
                kept.add(int(run.stdout.readline()))
            for _ in range(chance.randrange(100_000)):  # so that the kill falls anywhere into the next put
                pass
            run.kill()
        one = cache()
        found = one.get(keys(range(1_000)))

        assert found.items() <= items(range(1_000)).items()
        assert found.items() >= items([i + j for i in kept for j in range(16)]).items()


@pytest.mark.parametrize("seed", range(6))
def test_a_kill_among_evictions_leaves_a_cache_that_works(
    path: Path, cache: Opens, notes: list[str], seed: int
) -> None:
    chance = random.Random(seed)
    with worker(path, 0, 100_000, 200_000) as run:
        start(run)
        assert run.stdout is not None
        for _ in range(chance.randrange(5, 30)):
            run.stdout.readline()
        for _ in range(chance.randrange(100_000)):
            pass
        run.kill()
    one = cache(200_000)
    found = one.get(keys(range(2_000)))
    assert found.items() <= items(range(2_000)).items()
    assert len(found) >= 48
    one.put(items([5_000]))
    assert one.get(keys([5_000])) == items([5_000])
    assert kept_bytes(path) <= 200_000
    assert notes == []
