"""Where figures come from: machine, versions, command, date and number of runs; written down with them."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from goals import Found
from workplace import Lengths

PACKAGES = ("finetune-export", "onnxruntime", "numpy", "pillow", "starlette", "uvicorn")
TINY = "**Everything was short: these figures mean nothing.**"


class Record:
    """What was found so far, section by section, of a command with ``arguments``."""

    def __init__(self, arguments: Sequence[str], lengths: Lengths, tiny: bool) -> None:
        self._date = datetime.now(UTC)
        self._command = " ".join(["python tests/bench_serve", *(_without_folders(text) for text in arguments)])
        self._lengths = lengths
        self._tiny = tiny
        self._sections: dict[str, Found] = {}

    def add(self, name: str, found: Found) -> None:
        """Add a section."""
        self._sections[name] = found

    def missed(self) -> list[str]:
        """Return the goals that were missed."""
        return [goal.what for found in self._sections.values() for goal in found.goals if "missed" in goal.verdict]

    def write(self, folder: Path) -> None:
        """Write everything so far as Markdown and as JSON."""
        folder.mkdir(parents=True, exist_ok=True)
        runs = f"repeats: {self._lengths.repeats}, loads of {self._lengths.seconds:g} s"
        where = f"{self._date:%Y-%m-%d}, {runs}. {machine()}"
        heading = [where, f"`{self._command}`", *([TINY] if self._tiny else [])]
        parts = [*heading, *(found.markdown() for found in self._sections.values())]
        (folder / "bench-serve.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
        (folder / "bench-serve.json").write_text(json.dumps(self._as_json(), indent=1, default=str), encoding="utf-8")

    def _as_json(self) -> dict[str, object]:
        sections = {
            name: {
                "goals": [{**vars(goal), "value": goal.value, "verdict": goal.verdict} for goal in found.goals],
                "figures": found.figures,
            }
            for name, found in self._sections.items()
        }
        return {
            "date": f"{self._date:%Y-%m-%d}",
            "machine": machine(),
            "command": self._command,
            "lengths": vars(self._lengths),
            "sections": sections,
        }


def machine() -> str:
    """Return the machine and the versions in one sentence each."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    what = f"{os.cpu_count()} cores of {_processor()}, {memory:.0f} GB of memory, {platform.system()}"
    return f"Machine: {what}. Python {platform.python_version()}, {versions}."


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text(encoding="utf-8").splitlines() if described.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _without_folders(argument: str) -> str:
    """Return an argument without the path to where it is on this machine."""
    return Path(argument).name if argument.startswith("/") else argument
