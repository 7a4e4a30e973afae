from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune import run_folder
from finetune.errors import DataError, ResourceError
from finetune.run_folder import STATUS, RunFolder, write


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "runs", "pets-resnet18")


def status(folder: RunFolder) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / STATUS).read_text(encoding="utf-8"))
    return found


# ── whole or absent ─────────────────────────────────────────────────────────────────────────────────


def test_what_is_written_is_there(tmp_path: Path) -> None:
    write(tmp_path / "a", b"new")

    assert (tmp_path / "a").read_bytes() == b"new"


def test_an_old_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a longer old one")

    write(tmp_path / "a", b"new")

    assert (tmp_path / "a").read_bytes() == b"new"


def test_nothing_else_is_left_in_the_folder(tmp_path: Path) -> None:
    write(tmp_path / "a", b"new")

    assert os.listdir(tmp_path) == ["a"]  # noqa: PTH208 - names are all that is asked


def test_a_reader_of_the_old_file_keeps_the_old_file(tmp_path: Path) -> None:
    write(tmp_path / "a", b"old")
    with (tmp_path / "a").open("rb") as reader:
        write(tmp_path / "a", b"new")

        assert reader.read() == b"old"


def test_content_reaches_the_disk_before_its_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []
    sync, rename = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: done.append("sync") or sync(descriptor))
    monkeypatch.setattr(Path, "replace", lambda self, target: done.append("rename") or rename(self, target))

    write(tmp_path / "a", b"new")

    assert done == ["sync", "rename", "sync"]


OVERWRITES = """
import hashlib, pathlib, sys
from finetune.run_folder import write
bodies = [digit * 1_000_000 for digit in (b"0", b"1")]
versions = [hashlib.sha256(body).digest() + body for body in bodies]
while True:  # next to all of the time is spent in write()
    for version in versions:
        write(pathlib.Path(sys.argv[1]), version)
        print(flush=True)
"""


def is_whole(content: bytes) -> bool:
    return hashlib.sha256(content[32:]).digest() == content[:32]


@pytest.mark.parametrize("seed", range(20))
def test_a_kill_at_any_instant_leaves_a_whole_file(tmp_path: Path, seed: int) -> None:
    path, chance = tmp_path / "model.onnx", random.Random(seed)
    with subprocess.Popen(
        [sys.executable, "-c", OVERWRITES, str(path)], stdout=subprocess.PIPE, cwd=tmp_path
    ) as writer:
        assert writer.stdout is not None
        for _ in range(chance.randrange(1, 6)):
            writer.stdout.readline()
        for _ in range(chance.randrange(200_000)):  # so that the kill falls anywhere into the next write
            pass
        writer.kill()
    assert is_whole(path.read_bytes())


# ── no room, no permission ──────────────────────────────────────────────────────────────────────────

FAILS_TO_WRITE = """
import os, pathlib, resource, signal, sys
from finetune.errors import ResourceError
from finetune.run_folder import RunFolder, write
trouble, path = sys.argv[1], pathlib.Path("model.onnx")
if trouble == "full disk":
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, 1_000))
elif os.geteuid() == 0:
    os.seteuid(65534)  # permissions mean nothing to root
try:
    write(path, b"n" * 10_000)
except ResourceError as error:
    print(error.exit_code, error)
"""


def failing_write(folder: Path, trouble: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", FAILS_TO_WRITE, trouble], capture_output=True, text=True, check=True, cwd=folder
    )
    return done.stdout.strip()


def test_a_full_disk_is_told_with_the_remedy(tmp_path: Path) -> None:
    assert failing_write(tmp_path, "full disk") == (
        "6 Cannot write model.onnx: File too large. Free some space, or choose another folder with --out."
    )


def test_a_full_disk_leaves_neither_a_part_nor_a_temporary_file(tmp_path: Path) -> None:
    failing_write(tmp_path, "full disk")

    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, tree: Callable[[Path], dict[str, bytes]]) -> None:
    (tmp_path / "model.onnx").write_bytes(b"old")

    failing_write(tmp_path, "full disk")

    assert tree(tmp_path) == {"model.onnx": b"old"}


def test_a_read_only_folder_is_told_with_the_remedy(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    try:
        told = failing_write(tmp_path, "read-only folder")
    finally:
        tmp_path.chmod(0o755)

    assert told == "6 Cannot write model.onnx: Permission denied. Choose another folder with --out."
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match=r"Cannot write .*: No such file or directory\. Choose another folder"):
        write(tmp_path / "gone" / "a", b"new")


def test_out_that_is_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").write_bytes(b"")
    with pytest.raises(ResourceError) as caught:
        RunFolder.create(tmp_path / "runs", "pets")

    assert str(caught.value) == f"Cannot write {tmp_path / 'runs'}: File exists. Choose another folder with --out."
    assert caught.value.exit_code == 6


# ── a folder of its own ─────────────────────────────────────────────────────────────────────────────


class OneSecond(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: object = None) -> OneSecond:  # type: ignore[override]
        return cls(2024, 1, 2, 3, 4, 5, tzinfo=tz)  # type: ignore[arg-type]


def test_a_run_is_called_by_its_time_and_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "datetime", OneSecond)

    assert RunFolder.create(tmp_path, "pets-resnet18").run_id == "20240102-030405-pets-resnet18"


def test_runs_of_the_same_second_have_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_folder, "datetime", OneSecond)

    names = [RunFolder.create(tmp_path, "pets").run_id for _ in range(3)]

    assert names == ["20240102-030405-pets", "20240102-030405-pets-2", "20240102-030405-pets-3"]


def test_folders_above_are_made(tmp_path: Path) -> None:
    assert RunFolder.create(tmp_path / "a" / "b", "pets").path.is_dir()


def test_a_run_folder_is_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    assert RunFolder.create(Path("runs"), "pets").path.parent == tmp_path / "runs"


@given(st.text(st.characters()))
def test_any_name_makes_a_folder_directly_below(name: str) -> None:
    with tempfile.TemporaryDirectory() as out:
        assert RunFolder.create(Path(out), name).path.parent == Path(out).resolve()


@pytest.mark.parametrize("name", ["犬" * 300, "n" * 300, "🐕" * 300], ids=["three bytes", "one byte", "four bytes"])
def test_a_long_name_is_cut_to_what_a_file_system_takes(tmp_path: Path, name: str) -> None:
    assert len(os.fsencode(RunFolder.create(tmp_path, name).run_id)) <= 200


def test_a_name_keeps_its_script(tmp_path: Path) -> None:
    assert RunFolder.create(tmp_path, "柴犬/Käfer ..").run_id.endswith("-柴犬-Käfer---")


# ── what is written into it ─────────────────────────────────────────────────────────────────────────


def test_text_is_written_as_utf_8(folder: RunFolder) -> None:
    assert folder.write("a.txt", "Käfer").read_bytes() == "Käfer".encode()


def test_a_file_name_that_is_no_text_does_not_keep_a_record_from_being_written(folder: RunFolder) -> None:
    path = folder.write_json("a.json", {"path": Path("k\udce4fer.jpg")})

    assert json.loads(path.read_text(encoding="utf-8")) == {"path": "k\udce4fer.jpg"}


def test_json_holds_dataclasses_and_paths(folder: RunFolder) -> None:
    @dataclass
    class Point:
        x: int
        where: Path

    path = folder.write_json("a.json", [Point(1, Path("/Käfer"))])

    assert json.loads(path.read_text(encoding="utf-8")) == [{"x": 1, "where": "/Käfer"}]
    assert "Käfer" in path.read_text(encoding="utf-8")


@settings(max_examples=40)
@given(st.lists(st.tuples(st.text(), st.text()), max_size=5))
def test_a_table_reads_back_as_it_was_written(rows: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as out:
        path = RunFolder.create(Path(out), "run").write_csv("a.csv", ("part", "label"), rows)
        with path.open(encoding="utf-8", newline="") as file:
            header, *read = csv.reader(file)

    assert (header, [tuple(row) for row in read]) == (["part", "label"], rows)


# ── the status ──────────────────────────────────────────────────────────────────────────────────────


def test_a_run_is_running_while_it_runs(folder: RunFolder) -> None:
    with folder.recorded():
        found = status(folder)

    assert (found["status"], found["id"], found["pid"]) == ("running", folder.run_id, os.getpid())


def test_a_run_that_ends_is_done(folder: RunFolder) -> None:
    with folder.recorded():
        pass

    assert status(folder)["status"] == "done"


def test_a_run_that_fails_is_failed_with_its_cause(folder: RunFolder) -> None:
    with pytest.raises(DataError), folder.recorded():
        raise DataError("too few cats")

    assert (status(folder)["status"], status(folder)["cause"]) == ("failed", "DataError: too few cats")


def test_a_cause_without_words_is_its_kind(folder: RunFolder) -> None:
    with pytest.raises(MemoryError), folder.recorded():
        raise MemoryError

    assert status(folder)["cause"] == "MemoryError"


@pytest.mark.parametrize("ending", [KeyboardInterrupt(), SystemExit(143)], ids=["Ctrl-C", "SIGTERM"])
def test_a_run_that_was_told_to_end_is_interrupted(folder: RunFolder, ending: BaseException) -> None:
    with pytest.raises(type(ending)), folder.recorded():
        raise ending

    assert status(folder)["status"] == "interrupted"


def test_facts_stay_whatever_comes_after(folder: RunFolder) -> None:
    def fail() -> None:
        with folder.recorded():
            folder.record(suggestion=0.01)
            folder.record(epochs=3)
            raise DataError("too few cats")

    with pytest.raises(DataError):
        fail()

    found = status(folder)
    assert (found["suggestion"], found["epochs"], found["status"]) == (0.01, 3, "failed")


def test_a_run_has_a_beginning_and_an_end(folder: RunFolder) -> None:
    with folder.recorded():
        pass

    started, ended = (datetime.fromisoformat(str(status(folder)[key])) for key in ("started", "ended"))
    assert started <= ended
    assert started.tzinfo is not None


def test_a_cause_that_is_no_text_is_recorded_nevertheless(folder: RunFolder) -> None:
    with pytest.raises(DataError), folder.recorded():
        raise DataError("k\udce4fer.jpg is damaged")

    assert status(folder)["cause"] == "DataError: k\udce4fer.jpg is damaged"


def test_a_record_that_cannot_be_written_does_not_hide_the_cause(folder: RunFolder) -> None:
    def lose_the_folder_and_fail() -> None:
        with folder.recorded():
            shutil.rmtree(folder.path)
            raise DataError("too few cats")

    with pytest.raises(DataError, match="too few cats"):
        lose_the_folder_and_fail()
