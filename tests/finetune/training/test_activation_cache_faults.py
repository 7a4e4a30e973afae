from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from finetune.training import activation_file
from finetune.training.activation_cache import ActivationCache

from .conftest import PLENTY, Opens, cut, fill, items, keys

USES = """
import os, pathlib, resource, sys
from finetune.training.activation_cache import ActivationCache
trouble, path = sys.argv[1], pathlib.Path(sys.argv[2])
if trouble == "full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
elif os.geteuid() == 0:
    os.seteuid(65534)  # permissions mean nothing to root
with ActivationCache(path, 1 << 30, print) as cache:
    for i in range(3):
        cache.put({b"new %d" % i: b"n" * 600_000})
        print(len(cache.get([b"old", b"new 0", b"new 1", b"new 2"])))
"""


def used_under(trouble: str, path: Path) -> list[str]:
    """Return what a run prints that puts three values and counts all of them and the old one after each."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", USES, trouble, str(path)], capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


@pytest.fixture
def open_path(path: Path) -> Iterator[Path]:
    """Return the path of a cache with one value, in folders that everybody may enter."""
    folders = [folder for folder in path.parents if folder.stat().st_uid == os.getuid() and folder != Path("/")]
    modes = [folder.stat().st_mode for folder in folders]
    for folder in folders:
        folder.chmod(0o755)
    fill(path, {b"old": b"value"})
    yield path
    for folder, mode in zip(folders, modes, strict=True):
        folder.chmod(mode)


def test_a_read_only_folder_with_a_cache_is_read_from(open_path: Path) -> None:
    open_path.chmod(0o444)
    open_path.parent.chmod(0o555)

    assert used_under("read-only", open_path) == [
        f"The activation cache {open_path} cannot be written to (attempt to write a readonly database); "
        "this run only reads from it.",
        *"111",
    ]


def test_a_read_only_file_is_read_from(open_path: Path) -> None:
    open_path.chmod(0o444)
    open_path.parent.chmod(0o777)

    assert used_under("read-only", open_path) == [
        f"The activation cache {open_path} cannot be written to (attempt to write a readonly database); "
        "this run only reads from it.",
        *"111",
    ]


def test_a_read_only_folder_without_a_cache_is_said(open_path: Path) -> None:
    open_path.unlink()
    open_path.parent.chmod(0o555)

    assert used_under("read-only", open_path) == [
        f"The activation cache {open_path} cannot be opened (Permission denied); this run does without it.",
        *"000",
    ]


def test_a_damaged_file_in_a_read_only_folder_is_said(open_path: Path) -> None:
    cut(open_path, 80)
    open_path.chmod(0o444)
    open_path.parent.chmod(0o555)

    assert used_under("read-only", open_path) == [
        f"The activation cache {open_path} is damaged (database disk image is malformed); "
        "it cannot be replaced (Permission denied), and this run does without it.",
        *"000",
    ]


def test_a_file_that_nobody_may_read_is_said(open_path: Path) -> None:
    open_path.chmod(0)
    open_path.parent.chmod(0o555)

    assert used_under("read-only", open_path) == [
        f"The activation cache {open_path} cannot be opened (unable to open database file); this run does without it.",
        *"000",
    ]


def test_a_file_where_a_folder_should_be_is_said(tmp_path: Path, notes: list[str]) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "activations.sqlite"
    with ActivationCache(path, PLENTY, notes.append) as one:
        assert one.get(keys([0])) == {}

    assert notes == [f"The activation cache {path} cannot be opened (Not a directory); this run does without it."]


def test_a_disk_that_takes_no_more_is_read_from(open_path: Path) -> None:
    assert used_under("full", open_path) == [
        f"The activation cache {open_path} cannot be written to (disk I/O error); this run only reads from it.",
        *"111",
    ]


def test_a_full_disk_is_said_with_the_remedy(
    path: Path, cache: Opens, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(activation_file._SETTINGS, "max_page_count", 450)
    one = cache()
    one.put(items(range(10), size=50_000))
    for first in (10, 30):
        one.put(items(range(first, first + 20), size=50_000))

    assert notes == [
        f"The activation cache {path} cannot be written to (database or disk is full); this run only reads from it. "
        "Free some space."
    ]
    assert one.get(keys(range(50))) == items(range(10), size=50_000)


def test_a_cache_that_another_process_writes_to_for_long_is_read_from(
    path: Path, cache: Opens, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activation_file, "LOCK_SECONDS", 0.01)
    fill(path, items([0]))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    one = cache()
    for _ in range(2):
        one.put(items([1]))
        assert one.get(keys([0, 1])) == items([0])
    other.close()

    assert notes == [f"The activation cache {path} is locked by another process; this run only reads from it."]
    assert cache().get(keys([0, 1])) == items([0])


def test_a_cache_that_another_process_keeps_to_itself_is_done_without(
    path: Path, cache: Opens, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activation_file, "LOCK_SECONDS", 0.01)
    fill(path, items([0]))
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("UPDATE total SET bytes = bytes")
    one = cache()
    for _ in range(2):
        assert one.get(keys([0])) == {}
        one.put(items([1]))
    other.close()

    assert notes == [f"The activation cache {path} is locked by another process; this run does without it."]
    assert cache().get(keys([0])) == items([0])


def test_a_file_system_without_a_write_ahead_log_will_do(
    path: Path, cache: Opens, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(activation_file._SETTINGS, "journal_mode", "DELETE")
    one, other = cache(), cache()
    one.put(items([0]))
    other.put(items([1]))

    assert one.get(keys([0, 1])) == other.get(keys([0, 1])) == items([0, 1])
    assert notes == []
    assert [p.name for p in path.parent.iterdir()] == [path.name]
