"""Many photos in files: ``finetune-export predict``, the same work with nothing around it, and fastai."""

from __future__ import annotations

import json
import sys
import time
from functools import partial
from itertools import cycle, islice
from pathlib import Path

from goals import Found, Goal, Table, shown
from workplace import Workplace

HERE = Path(__file__).parent
SHARE_OF_DIRECT, TIMES_PREDICT, TIMES_TEST_DL = 0.9, 5.0, 2.0
LIMIT_S = 1_200.0
AtLeast = partial(Goal, at_least=True, unit="×", digits=2)
ABOUT = """The photos lie in files, several times over under other names. Ours and the direct pipeline are whole \
processes, from start to end: as many of them as there are cores, each run of the network on one thread. fastai's are \
seconds of the loop alone, without its import: the same trained network, `Resize(224)`, the rest at its defaults."""


def bulk(place: Workplace) -> Found:
    """Measure all in turn, ``repeats`` times."""
    files = _copies(place)
    columns: dict[str, list[float]] = {"predict": [], "direct": [], "learn.predict": [], "test_dl": []}
    notes = []
    for _ in range(place.lengths.repeats):
        columns["direct"].append(len(files) / _direct_s(place, files))
        columns["predict"].append(len(files) / _predict_s(place, files))
        if place.run.is_dir():
            fastai = _fastai(place, files)
            columns["learn.predict"].append(fastai["predict"])
            columns["test_dl"].append(fastai["test_dl"])
    if not place.run.is_dir():
        notes.append("fastai: skipped; it needs a run's folder, and there is a model file alone.")
    names = {
        "predict": f"`finetune-export predict --processes {place.cores}`",
        "direct": "the direct pipeline",
        "learn.predict": "fastai, `learn.predict` for each",
        "test_dl": "fastai, `test_dl`",
    }
    return Found(
        title=f"{len(files):,} photos in files",
        about=ABOUT,
        tables=[Table(("", "photos/s"), [[names[name], shown(values, 1)] for name, values in columns.items()])],
        goals=[
            AtLeast(what="by the direct pipeline", values=_ratios(columns, "direct"), target=SHARE_OF_DIRECT),
            AtLeast(what="by learn.predict", values=_ratios(columns, "learn.predict"), target=TIMES_PREDICT),
            AtLeast(what="by test_dl", values=_ratios(columns, "test_dl"), target=TIMES_TEST_DL),
        ],
        notes=notes,
        figures=columns,
    )


def _copies(place: Workplace) -> list[Path]:
    """Return the photos under so many names that starting a process is a small part; links, with class folders."""
    files = []
    for number, photo in enumerate(islice(cycle(place.photos), place.lengths.photos)):
        link = place.work / "bulk" / photo.parent.name / f"{number:06}-{photo.name}"
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.is_symlink():
            link.symlink_to(photo.resolve())
        files.append(link)
    return files


def _direct_s(place: Workplace, files: list[Path]) -> float:
    lists = [place.work / f"files-{number}" for number in range(place.cores)]
    for number, listed in enumerate(lists):
        listed.write_text("".join(f"{file}\n" for file in files[number :: place.cores]), encoding="utf-8")
    command, began = [sys.executable, str(HERE / "bulk_direct.py"), str(place.model)], time.perf_counter()
    started = [place.processes.start([*command, str(listed)]) for listed in lists]
    statuses = [process.ended(LIMIT_S) for process in started]
    seconds = time.perf_counter() - began
    if any(statuses):
        raise RuntimeError(f"the direct pipeline ended with {statuses}: {started[0].written[-500:]}")
    for process in started:
        place.processes.end(process)
    return seconds


def _predict_s(place: Workplace, files: list[Path]) -> float:
    out, began = place.work / "predictions.csv", time.perf_counter()
    out.unlink(missing_ok=True)
    options = ["--processes", str(place.cores), "--out", str(out), "--quiet"]
    command = [sys.executable, "-m", "finetune_export", "predict", str(place.model), str(place.work / "bulk"), *options]
    process = place.processes.start(command)
    status = process.ended(LIMIT_S)
    seconds = time.perf_counter() - began
    rows = len(out.read_text(encoding="utf-8").splitlines()) - 1 if out.is_file() else 0
    if status or rows != len(files):
        raise RuntimeError(f"predict ended with {status} and {rows} rows of {len(files)}: {process.written[-500:]}")
    place.processes.end(process)
    return seconds


def _fastai(place: Workplace, files: list[Path]) -> dict[str, float]:
    job = {"run": str(place.run), "files": [str(file) for file in files], "one_by_one": place.lengths.fastai_photos}
    described = place.work / "fastai.json"
    described.write_text(json.dumps(job), encoding="utf-8")
    process = place.processes.start([sys.executable, str(HERE / "fastai_predict.py"), str(described)])
    if status := process.ended(LIMIT_S):
        raise RuntimeError(f"fastai ended with {status}: {process.written[-500:]}")
    found: dict[str, float] = json.loads(process.written.strip().splitlines()[-1])
    place.processes.end(process)
    return found


def _ratios(columns: dict[str, list[float]], other: str) -> list[float]:
    return [ours / theirs for ours, theirs in zip(columns["predict"], columns[other], strict=False)]
