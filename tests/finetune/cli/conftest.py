"""The command line in this process and in one of its own, and what it says."""

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

from finetune.cli import main


def tiny(**changes: object) -> list[str]:
    """Return the flags of a run that takes seconds."""
    options = {"backbone": "squeezenet1_1", "weights": "none", "image_size": 32, "batch_size": 8, "epochs": 1} | changes
    return [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]


@dataclass(frozen=True)
class Said:
    """What a command left on its exit: the status, and what it wrote."""

    status: int
    out: str
    err: str


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Run a command in this process, in an empty folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    at_term = signal.getsignal(signal.SIGTERM)

    def said(*arguments: object) -> Said:
        with pytest.raises(SystemExit) as ending:
            main([str(argument) for argument in arguments])
        written = capsys.readouterr()
        return Said(int(ending.value.code or 0), written.out, written.err)

    yield said
    signal.signal(signal.SIGTERM, at_term)


@pytest.fixture(scope="session")
def fonts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where matplotlib keeps its list of fonts, which takes it seconds to make."""
    return tmp_path_factory.mktemp("matplotlib")


@pytest.fixture
def environment(fonts: Path) -> dict[str, str]:
    """Return the surroundings of a command in a process of its own, with Python's own habits."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**inherited, "MPLCONFIGDIR": str(fonts), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def process(environment: dict[str, str], tmp_path: Path) -> Callable[..., Said]:
    """Run a command in a process of its own."""

    def said(*arguments: object, code: str = "", **more: str) -> Said:
        begin = ["-c", code] if code else ["-m", "finetune"]
        done = subprocess.run(
            [sys.executable, *begin, *map(str, arguments)],
            capture_output=True,
            encoding="utf-8",
            cwd=tmp_path,
            env={**environment, **more},
        )
        return Said(done.returncode, done.stdout, done.stderr)

    return said


def refusal(said: Said, status: int) -> str:
    """Return the line that says why, having seen that there is one, that it comes last, and nothing on stdout."""
    lines = said.err.splitlines()
    causes = [line for line in lines if line.startswith("finetune: ")]
    assert (said.status, said.out) == (status, ""), said.err
    assert causes == lines[-1:], said.err
    assert "Traceback" not in said.err
    return causes[0]
