"""Processes that are killed while they save, at every step of it, and disks without room: nothing whole is ever lost.

Importing torch takes a process seconds, so that each of the processes below imports it once, and forks for every crash.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMMON = """
import os, pathlib, random, signal, sys, torch
from finetune.errors import FinetuneError
from finetune.training.checkpoints import Checkpoints
torch.set_num_threads(1)
root = pathlib.Path(sys.argv[1])

def save(checkpoints, number, size=250_000):
    checkpoints.save({"w": torch.full((size,), float(number))}, {"number": number}, f"epoch {number}")

def number_in(folder):  # 0 where there is none; anything that is not whole is an error
    found = Checkpoints(folder).load()
    if found is None:
        return 0
    assert (found.tensors["w"] == found.facts["number"]).all(), "mixed"
    return found.facts["number"]

def forked(work):  # returns how the process that did the work ended
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        except FinetuneError as error:
            print(error, flush=True)
            os._exit(error.exit_code)
        finally:
            os._exit(99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""

KILLS_AT_RANDOM = """
def saves_on_and_on(folder, first, told):
    checkpoints, number = Checkpoints(folder), first
    while True:
        save(checkpoints, number)
        os.write(told, b".")
        number += 1

for seed in range(24):
    chance, folder, newest = random.Random(seed), root / str(seed // 4), 0
    newest = number_in(folder)  # four processes in turn go on with each folder
    heard, told = os.pipe()
    child = os.fork()
    if child == 0:
        saves_on_and_on(folder, newest + 1, told)
    os.close(told)
    acknowledged = newest
    for _ in range(chance.randrange(4)):
        acknowledged += len(os.read(heard, 1))
    for _ in range(chance.randrange(150_000)):  # so that the kill falls anywhere into the next one
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    acknowledged += len(os.read(heard, 100))
    os.close(heard)
    found = number_in(folder)
    assert acknowledged <= found <= acknowledged + 1, (seed, acknowledged, found)
    save(Checkpoints(folder), found + 1)
    left = sorted(path.suffix for path in folder.iterdir())
    assert left == [".json"] + [".safetensors"] * min(found + 1, 2), (seed, left)
print("done")
"""

KILLS_AT_EVERY_STEP = """
def dies_at(step, folder, work):  # of those that Python reports: open, rename, remove, mkdir, listing
    def count(event, arguments):
        nonlocal step
        if event.startswith(("open", "os.", "glob", "shutil")) and str(folder) in str(arguments):
            step -= 1
            if step == 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    work()

for what, before, outcomes in (("save", 0, {0, 1}), ("save", 2, {2, 3}), ("remove", 2, {2, 0})):
    seen = set()
    for step in range(1, 200):
        folder = root / f"{what}-{before}-{step}"
        for number in range(1, before + 1):
            save(Checkpoints(folder), number, 10)
        work = (lambda: save(Checkpoints(folder), before + 1, 10)) if what == "save" else Checkpoints(folder).remove
        status = forked(lambda: dies_at(step, folder, work))
        seen.add(number_in(folder))
        save(Checkpoints(folder), 9, 10)
        assert number_in(folder) == 9
        if status == 0:
            break
        assert status == -signal.SIGKILL, status
    assert status == 0 and step > 5, (what, before, step, status)
    assert seen == outcomes, (what, before, seen)
print("done")
"""

HAS_NO_ROOM = """
import resource
checkpoints = Checkpoints(root)
for number in (1, 2):
    save(checkpoints, number)

def saves_too_much():
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
    save(checkpoints, 3)

assert forked(saves_too_much) == 6
assert number_in(root) == 2
assert len(list(root.iterdir())) == 3, list(root.iterdir())
print("done")
"""

FAULTY_SYSTEM_CALLS = """
# strace lets the 50th call of each kind fail, counted for each process: with calls made beforehand, any one of ours.
KINDS = {
    "fsync": lambda: os.fsync(spare),
    "rename": lambda: os.rename(root / "a", root / "a"),
    "unlink": lambda: os.unlink(root / "missing"),
    "write": lambda: os.write(spare, b"."),
}
(root / "a").touch()
spare = os.open(root / "a", os.O_RDWR)
statuses = []
for kind, call in KINDS.items():
    for place in range(1, 9):
        folder = root / f"{kind}-{place}"
        forked(lambda: [save(Checkpoints(folder), number, 10) for number in (1, 2)])

        def fails_there():
            for _ in range(50 - place):
                try:
                    call()
                except FileNotFoundError:
                    pass
            save(Checkpoints(folder), 3, 10)

        status = forked(fails_there)
        assert status in (0, 6, -signal.SIGKILL), (kind, place, status)
        statuses.append(status)
        found = number_in(folder)
        assert found in (2, 3), (kind, place, found)
        assert found == 3 or status != 0, (kind, place)
        left = sorted(path.suffix for path in folder.iterdir() if not path.name.startswith(".") and path.stem != "new")
        assert left.count(".json") == 1 and 2 <= left.count(".safetensors") <= 3, (kind, place, left)
        assert forked(lambda: save(Checkpoints(folder), 4, 10)) == 0
        assert len(list(folder.iterdir())) == 3, (kind, place)
assert sum(status != 0 for status in statuses) >= 8, statuses
print("done")
"""


def run(script: str, folder: Path, *before: str) -> str:
    done = subprocess.run(
        [*before, sys.executable, "-c", COMMON + script, str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.removesuffix("done\n")


def test_two_dozen_kills_at_any_instant_leave_the_newest_checkpoint_whole(tmp_path: Path) -> None:
    assert run(KILLS_AT_RANDOM, tmp_path) == ""


def test_a_kill_at_any_step_of_saving_or_removing_leaves_what_can_be_loaded_and_saved_to(tmp_path: Path) -> None:
    assert run(KILLS_AT_EVERY_STEP, tmp_path) == ""


def test_a_full_disk_is_told_and_leaves_the_checkpoints_before(tmp_path: Path) -> None:
    assert run(HAS_NO_ROOM, tmp_path) == (
        f"Cannot write {tmp_path / 'new.safetensors'}: File too large. Free some space, or choose another folder with "
        "--out.\n"
    )


def can_trace() -> bool:
    strace = shutil.which("strace")
    if strace is None:
        return False
    return subprocess.run([strace, "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not can_trace(), reason="needs strace, and the right to use it")
@pytest.mark.parametrize("fault", ["signal=KILL", "error=ENOSPC", "error=EIO"])
def test_a_fault_of_any_system_call_of_saving_leaves_a_whole_checkpoint(tmp_path: Path, fault: str) -> None:
    calls = "fsync,rename,unlink,write"
    strace = ("strace", "-f", "-qq", "-o", os.devnull, "-e", f"trace={calls}", "-e", f"inject={calls}:{fault}:when=50")

    told = run(FAULTY_SYSTEM_CALLS, tmp_path, *strace)

    assert all(line.startswith("Cannot write ") for line in told.splitlines())
