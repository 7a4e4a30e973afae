"""Where the figures come from: machine, versions, command, dates and number of runs."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from results import Section

PACKAGES = ("finetune", "torch", "torchvision", "fastai", "onnxruntime", "pillow")
ENTRY = "python tests/bench/transfer.py"
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY", "LD_PRELOAD", "MALLOC_CONF")
"""What changes the figures when it is set."""


def heading(sections: Sequence[Section], arguments: Sequence[str]) -> str:
    """Return what stands above the tables."""
    measurements = [found for section in sections for found in section.measurements]
    dates = sorted({found.date for found in measurements}) or ["no date"]
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    told = command(ENTRY, arguments)
    return f"{when}, {len(measurements)} processes, each of its own, one after the other. {machine()}\n\n`{told}`"


def command(entry: str, arguments: Sequence[str]) -> str:
    """Return the command line that was typed, with the settings that change the figures."""
    settings = [f"{name}={os.environ[name]}" for name in THREADS if name in os.environ]
    return " ".join([*settings, entry, *arguments])


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
