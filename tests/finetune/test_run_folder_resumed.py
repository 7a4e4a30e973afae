"""A run's folder that is opened once more: locked, swept, and with what was recorded before."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from finetune import run_folder
from finetune.errors import ConfigError, DataError, ResourceError
from finetune.run_folder import LOCK, STATUS, Job, RunFolder, is_cross_validation, resuming_command

RUNS = """
import pathlib, sys
from finetune.run_folder import RunFolder
how, path = sys.argv[1], pathlib.Path(sys.argv[2])
folder = RunFolder.create(path, "pets") if how == "new" else RunFolder.reopen(path)
with folder.recorded():
    print(folder.path, flush=True)
    sys.stdin.read()
"""


@contextmanager
def another_run(how: str, path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """Start a process with a run of its own, which ends when its input does; yield it and the run's folder."""
    with subprocess.Popen(
        [sys.executable, "-c", RUNS, how, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        yield run, Path(run.stdout.readline().strip())
        run.kill()


@pytest.fixture
def stopped(tmp_path: Path) -> Path:
    """Return the folder of a run that was interrupted."""
    folder = RunFolder.create(tmp_path / "runs", "pets")

    def interrupt() -> None:
        with folder.recorded():
            folder.record(lr=0.01)
            folder.write("config.toml", "epochs = 3\n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    return folder.path


def status(path: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((path / STATUS).read_text(encoding="utf-8"))
    return found


# ── what is kept ────────────────────────────────────────────────────────────────────────────────────


def test_a_resumed_run_keeps_what_was_recorded_but_for_how_it_ended(stopped: Path) -> None:
    before = status(stopped)
    with RunFolder.reopen(stopped).recorded():
        during = status(stopped)
    after = status(stopped)

    assert (before["status"], before["cause"]) == ("interrupted", "KeyboardInterrupt")
    assert (during["status"], during["pid"], during["lr"]) == ("running", os.getpid(), 0.01)
    assert not {"cause", "ended"} & set(during)
    assert during["started"] == before["started"]
    assert (after["status"], after["resumed"]) == ("done", during["resumed"])


def test_every_time_that_a_run_is_resumed_is_recorded(stopped: Path) -> None:
    def fail() -> None:
        with RunFolder.reopen(stopped).recorded():
            raise DataError("too few cats")

    for _ in range(2):
        with pytest.raises(DataError):
            fail()
    with RunFolder.reopen(stopped).recorded():
        pass

    resumed = status(stopped)["resumed"]
    assert isinstance(resumed, list)
    assert len(resumed) == 3
    assert "cause" not in status(stopped)


def test_a_run_is_named_by_a_relative_path_as_well(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stopped)

    with RunFolder.reopen(Path()).recorded() as folder:
        assert (folder.path, folder.run_id) == (stopped, stopped.name)


def test_a_run_that_was_killed_can_be_resumed(tmp_path: Path) -> None:
    with another_run("new", tmp_path) as (run, path):
        run.kill()
    assert status(path)["status"] == "running"  # nobody was left to write more
    assert (path / LOCK).exists()

    with RunFolder.reopen(path).recorded():
        assert status(path)["pid"] == os.getpid()
    assert not (path / LOCK).exists()


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("what", ["nothing", "a file", "an empty folder"])
def test_what_no_run_left_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "run"
    if what != "nothing":
        path.write_bytes(b"") if what == "a file" else path.mkdir()
    before = list(tmp_path.rglob("*"))

    with pytest.raises(ConfigError) as caught:
        RunFolder.reopen(path)

    assert str(caught.value) == (
        f"{path} is no run's folder: it has no run.json. Name the folder that the run was written to."
    )
    assert caught.value.exit_code == 2
    assert list(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("content", [b"", b'{"status": ', b"[]", b"3", b"{}", b"\xff"])
def test_a_damaged_status_is_refused(stopped: Path, content: bytes) -> None:
    (stopped / STATUS).write_bytes(content)

    with pytest.raises(ConfigError) as caught:
        RunFolder.reopen(stopped)

    assert str(caught.value) == f"{stopped / STATUS} is damaged; the run cannot be resumed. Start a new one."


def test_a_run_that_is_done_is_refused_and_left_as_it_is(
    stopped: Path, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    with RunFolder.reopen(stopped).recorded():
        pass
    (stopped / "model.int8.failed.onnx").write_bytes(b"refused")
    before = tree(stopped)

    with pytest.raises(ConfigError) as caught:
        RunFolder.reopen(stopped)

    assert str(caught.value) == (
        f"{stopped} is done, there is nothing to resume. Start a new run with 'finetune run --config "
        f"{stopped / 'config.toml'}'."
    )
    assert tree(stopped) == before


@pytest.mark.parametrize("job", ["run", "pretrain"])
def test_a_folder_knows_the_command_that_goes_on_with_it(tmp_path: Path, job: Job) -> None:
    folder = RunFolder.create(tmp_path / "my runs", "pets", job)
    with folder.recorded():
        assert folder.job == job
        assert resuming_command(folder.path) == f"finetune {job} --resume '{folder.path}'"


def test_a_run_that_is_of_another_command_is_refused_with_that(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "pets", "pretrain")
    with pytest.raises(KeyboardInterrupt), folder.recorded():
        raise KeyboardInterrupt

    with pytest.raises(ConfigError) as caught:
        RunFolder.reopen(folder.path)

    assert str(caught.value) == (
        f"{folder.path} was made by 'finetune pretrain'; go on with: finetune pretrain --resume {folder.path}"
    )
    assert RunFolder.reopen(folder.path, "pretrain").job == "pretrain"


@pytest.mark.parametrize("how", ["new", "resumed"])
def test_a_run_that_another_process_has_is_refused_with_its_number(tmp_path: Path, stopped: Path, how: str) -> None:
    with another_run(how, tmp_path if how == "new" else stopped) as (run, path):
        (path / ".unverified").mkdir()
        with pytest.raises(ResourceError) as caught:
            RunFolder.reopen(path)

        assert str(caught.value) == (
            f"{path} is in use by process {run.pid}. Wait until it has ended, or end it, and repeat the command."
        )
        assert caught.value.exit_code == 6
        assert (path / ".unverified").exists()
        assert status(path)["pid"] == run.pid


def test_a_run_is_locked_from_the_moment_that_it_is_reopened(stopped: Path) -> None:
    first = RunFolder.reopen(stopped)

    with pytest.raises(ResourceError, match="is in use by process"):
        RunFolder.reopen(stopped)
    with first.recorded(), pytest.raises(ResourceError, match=f"is in use by process {os.getpid()}"):
        RunFolder.reopen(stopped)


def test_of_many_that_resume_a_run_one_after_the_other_each_gets_it(stopped: Path) -> None:
    for _ in range(3):
        with another_run("resumed", stopped) as (run, path):
            assert path == stopped
            assert run.stdin is not None
            run.kill()


def test_who_only_looks_whether_a_run_goes_on_is_not_in_the_way(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looking = os.open(stopped / LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(looking, fcntl.LOCK_SH)
    glances: list[float] = []

    def looks_away(seconds: float) -> None:
        glances.append(seconds)
        if len(glances) == 2:
            os.close(looking)

    monkeypatch.setattr(run_folder.time, "sleep", looks_away)
    with RunFolder.reopen(stopped).recorded():
        assert len(glances) == 2
        with pytest.raises(ResourceError, match="is in use by process"):
            RunFolder.reopen(stopped)
    assert sum(glances) < 0.5, "who is refused is told soon"


def test_a_folder_that_cannot_be_locked_is_told(stopped: Path) -> None:
    (stopped / LOCK).mkdir()

    with pytest.raises(ResourceError, match=r"Cannot write .+\.lock: Is a directory\. Choose another folder"):
        RunFolder.reopen(stopped)


# ── what is swept ───────────────────────────────────────────────────────────────────────────────────


def test_what_was_left_unfinished_or_failed_is_removed_and_nothing_else(
    stopped: Path, tmp_path: Path, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / ".mine.0123abcd.part").write_bytes(b"kept")
    (stopped / "linked").symlink_to(outside)
    (stopped / "checkpoints").mkdir()
    before = tree(stopped)
    (stopped / ".model.onnx.0123abcd.part").write_bytes(b"half")
    (stopped / "checkpoints" / ".a.safetensors.89abcdef.part").write_bytes(b"half")
    (stopped / ".unverified" / "web").mkdir(parents=True)
    (stopped / ".unverified" / "web" / "page.js").write_bytes(b"")
    (stopped / "model.int8.failed.onnx").write_bytes(b"refused")
    (stopped / "web.failed").mkdir()
    (stopped / "notes.part").write_bytes(b"a name of the user's")

    RunFolder.reopen(stopped)

    (stopped / LOCK).unlink()
    assert tree(stopped) == {**before, "notes.part": b"a name of the user's"}
    assert (outside / ".mine.0123abcd.part").exists()


def test_a_link_where_exports_were_kept_is_removed_and_not_followed(stopped: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_bytes(b"")
    (stopped / ".unverified").symlink_to(tmp_path / "outside")

    RunFolder.reopen(stopped)

    assert not (stopped / ".unverified").is_symlink()
    assert (tmp_path / "outside" / "kept").exists()


# ── what kind of run it is ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("files", "is_one"),
    [
        ({}, False),
        ({"config.toml": "folds = 5\n"}, True),
        ({"config.toml": "folds = 5\nfold = 2\n"}, False),
        ({"config.toml": "epochs = 5\n"}, False),
        ({"config.toml": "folds = ", "folds.json": "{"}, True),
        ({"config.toml": "folds = "}, False),
        ({"folds.json": "{}"}, True),
    ],
)
def test_a_cross_validation_is_known_by_its_options_or_by_what_it_came_to(
    tmp_path: Path, files: dict[str, str], is_one: bool
) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    assert is_cross_validation(tmp_path) is is_one
