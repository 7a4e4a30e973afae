"""The runtime's command line, in this process and in one of its own, and what it says."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from finetune_export.cli import main


@dataclass(frozen=True)
class Said:
    """What a command left on its exit: the status, and what it wrote."""

    status: int
    out: str
    err: str


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run a command in this process, in an empty folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    at_term = signal.getsignal(signal.SIGTERM)

    def said(*arguments: object) -> Said:
        with pytest.raises(SystemExit) as ending:
            main([str(argument) for argument in arguments])
        written = capfd.readouterr()
        return Said(int(ending.value.code or 0), written.out, written.err)

    yield said
    signal.signal(signal.SIGTERM, at_term)


@pytest.fixture
def environment() -> dict[str, str]:
    """Return the surroundings of a command in a process of its own, with Python's own habits."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**inherited, "OMP_NUM_THREADS": "1"}


@pytest.fixture
def process(environment: dict[str, str], tmp_path: Path) -> Callable[..., Said]:
    """Run a command in a process of its own; ``code`` runs instead of the command's module, with the same arguments."""

    def said(*arguments: object, code: str = "", stdin: bytes = b"", **more: str) -> Said:
        begin = ["-c", code] if code else ["-m", "finetune_export"]
        done = subprocess.run(
            [sys.executable, *begin, *map(str, arguments)],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            env={**environment, **more},
        )
        return Said(done.returncode, done.stdout.decode(), done.stderr.decode())

    return said


def refusal(said: Said, status: int) -> str:
    """Return the one line that says why, having seen that there is nothing on stdout."""
    assert (said.status, said.out) == (status, ""), said.err
    (line,) = said.err.splitlines()
    assert line.startswith("finetune-export: ")
    return line.removeprefix("finetune-export: ")


@pytest.fixture
def many(tmp_path: Path, photo: Callable[..., Any]) -> Path:
    """Return a folder of 300 small pictures."""
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(300):
        photo(20, 20, seed=i).save(folder / f"{i:03}.png")
    return folder
