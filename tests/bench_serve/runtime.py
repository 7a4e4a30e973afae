"""What the runtime takes by itself, without any service: disk, memory, and seconds to the first answer."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path

from goals import Found, Goal, Table, shown
from workplace import Workplace

ROOT = Path(__file__).parents[2]
RUNS, LARGEST = 5, 6
INSTALLED_MB, IMPORT_S, MEMORY_MB, FIRST_ANSWER_S = 200.0, 0.2, 80.0, 0.5
ABOUT = """`pip install --target` of finetune-export alone into an empty folder, compiled to bytecode; Python sees \
that folder and its standard library and nothing else. Of several processes, after one that does not count, each \
with one run thread: median, minimum to maximum. To the first answer is from starting the process to its end. Memory \
is what is resident."""


def runtime(place: Workplace) -> Found:
    """Install into a folder of its own and measure there."""
    folder = place.work / "installed"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"]
    ended = subprocess.run([*command, str(folder), str(ROOT / "export")], capture_output=True, text=True, check=False)
    if ended.returncode:
        return Found("The runtime by itself", f"Skipped: pip cannot install ({ended.stderr.strip()[-200:]}).")
    sizes = _sizes_mb(folder)
    runs = [_first_answer(folder, place) for _ in range(RUNS + 1)][1:]
    columns = {name: [run[name] for run in runs] for name in runs[0]}
    model_mb = place.model.stat().st_size / 1e6
    return Found(
        title="The runtime by itself",
        about=ABOUT,
        tables=[_table(sizes, columns, model_mb)],
        goals=[
            Goal(what="installed", values=[sum(sizes.values())], target=INSTALLED_MB, unit="MB"),
            Goal(what="import", values=columns["import_s"], target=IMPORT_S, unit="s", digits=2),
            Goal(
                what=f"memory, model of {model_mb:.1f} MB", values=columns["answered_mb"], target=MEMORY_MB, unit="MB"
            ),
            Goal(what="first answer", values=columns["answer_s"], target=FIRST_ANSWER_S, unit="s", digits=2),
        ],
        figures={"sizes_mb": sizes, **columns},
    )


def _table(sizes: dict[str, float], columns: dict[str, list[float]], model_mb: float) -> Table:
    rows = [["installed, MB", f"{sum(sizes.values()):.0f}"]]
    rows += [[f"of these {name}", f"{size:.1f}"] for name, size in islice(sizes.items(), LARGEST)]
    rows += [
        ["import, s", shown(columns["import_s"], 3)],
        ["process start to first answer, s", shown(columns["answer_s"], 2)],
        ["memory after the import, MB", shown(columns["imported_mb"], 1)],
        [f"memory after an answer, model of {model_mb:.1f} MB, MB", shown(columns["answered_mb"], 1)],
        ["the most in between, MB", shown(columns["peak_mb"], 1)],
    ]
    return Table(("", ""), rows)


def _sizes_mb(folder: Path) -> dict[str, float]:
    """Return the size of each installed package, the largest first."""
    sizes: Counter[str] = Counter()
    for path in filter(Path.is_file, folder.rglob("*")):
        sizes[path.relative_to(folder).parts[0]] += path.stat().st_size
    return {name: size / 1e6 for name, size in sizes.most_common()}


def _first_answer(folder: Path, place: Workplace) -> dict[str, float]:
    """Return what one process says of itself, and the seconds that it took."""
    env = {**os.environ, "PYTHONPATH": str(folder)}
    script = str(Path(__file__).parent / "first_answer.py")
    command, began = [sys.executable, "-S", script, str(place.model), str(place.photos[0])], time.perf_counter()
    written = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
    return {"answer_s": time.perf_counter() - began, **json.loads(written)}
