"""OpenVINO beside onnxruntime, measured in alternation: speed, agreement, start, memory and size.

    python plugins/finetune-openvino/tests/bench_openvino.py RUN [RUN …] --photos FOLDER [--repeats 7] [--seconds 1]

``RUN`` is a run's folder with ``model.onnx`` and ``openvino/``; ``FOLDER`` is searched for photos. Every engine is a
process of its own that stays open, and they take turns: one computes for ``--seconds`` while the others sleep. A ratio
is taken in each repeat between neighbours in time, so that a busy machine disturbs both; the table has its median and
its range. ``free`` is OpenVINO with the arithmetic that it chooses by itself.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Self

import numpy as np

ENGINES = ("onnxruntime", "openvino", "free")
BATCHES, THREADS = (1, 8), (1, 2)
SUFFIXES = (".jpg", ".jpeg", ".png")
MOST_PHOTOS = 64
"""So many photos speed is measured on; agreement takes all."""


# ── the parent ──────────────────────────────────────────────────────────────────────────────────────


class Engine:
    """A process with one model open; ``opened`` is what it told of its start."""

    def __init__(self, kind: str, run: Path, threads: int) -> None:
        command = [sys.executable, __file__, "--child", kind, str(run), str(threads)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.opened: dict[str, float] = self._answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def ask(self, **what: Any) -> Any:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout
        return json.loads(self._process.stdout.readline())


def speed(run: Path, photos: Sequence[str], repeats: int, seconds: float) -> Iterator[tuple[str, ...]]:
    """Yield a row for each engine, number of threads and of pictures."""
    yield "threads", "batch", "engine", "ms per run", "pictures/s", "× onnxruntime", "range"
    for threads in THREADS:
        engines = {kind: Engine(kind, run, threads) for kind in ENGINES}
        for engine in engines.values():
            engine.ask(photos=photos[:MOST_PHOTOS])
        for batch in BATCHES:
            rounds = [
                {kind: engine.ask(batch=batch, seconds=seconds) for kind, engine in engines.items()}
                for _ in range(repeats)
            ]
            for kind in ENGINES:
                ms = median(found[kind] for found in rounds)
                ratios = sorted(found["onnxruntime"] / found[kind] for found in rounds)
                yield (
                    f"{threads}", f"{batch}", kind, f"{ms:.2f}", f"{1e3 * batch / ms:.0f}", f"{median(ratios):.2f}",
                    f"{ratios[0]:.2f} to {ratios[-1]:.2f}",
                )  # fmt: skip
        for engine in engines.values():
            engine.__exit__()


def start(run: Path, repeats: int) -> Iterator[tuple[str, ...]]:
    """Yield a row for each engine: what it takes to be ready, and what it keeps."""
    yield "engine", "import s", "load and self-check s", "MB after one run", "peak MB", "MB on disk"
    for kind in ENGINES:
        told = []
        for _ in range(repeats):
            with Engine(kind, run, 1) as engine:
                told.append(engine.opened | engine.ask(memory=True))
        figures = {name: median(each[name] for each in told) for name in told[0]}
        yield (
            kind, f"{figures['import_s']:.2f}", f"{figures['load_s']:.2f}", f"{figures['resident_mb']:.0f}",
            f"{figures['peak_mb']:.0f}", f"{figures['disk_mb']:.1f}",
        )  # fmt: skip


def agreement(run: Path, photos: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield a row for each engine: its answers to all photos against onnxruntime's."""
    yield "engine", "photos", "same label", "largest difference"
    reference = None
    for kind in ENGINES:
        with Engine(kind, run, 2) as engine:
            answers = np.array(engine.ask(answers=photos))
        reference = answers if reference is None else reference
        same = (answers.argmax(axis=1) == reference.argmax(axis=1)).mean()
        yield kind, f"{len(photos)}", f"{same:.4f}", f"{np.abs(answers - reference).max():.1e}"


def table(rows: Iterator[tuple[str, ...]]) -> None:
    """Write rows as a Markdown table, each as soon as it is there."""
    for i, row in enumerate(rows):
        sys.stdout.write(f"| {' | '.join(row)} |\n" + ("|---" * len(row) + "|\n" if i == 0 else ""))
        sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--photos", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=1.0)
    asked = parser.parse_args()
    photos = sorted(str(path) for path in asked.photos.rglob("*") if path.suffix.lower() in SUFFIXES)
    for run in asked.runs:
        sys.stdout.write(f"\n{run.name}\n\n")
        for rows in (
            speed(run, photos, asked.repeats, asked.seconds),
            start(run, asked.repeats),
            agreement(run, photos),
        ):
            table(rows)
            sys.stdout.write("\n")


# ── the child ───────────────────────────────────────────────────────────────────────────────────────


def serve(kind: str, run: Path, threads: int) -> None:
    """Open a model and answer the parent, one line of JSON for each of its own."""
    started = time.perf_counter()
    runtime = __import__("finetune_export" if kind == "onnxruntime" else "finetune_openvino").Predictor
    if kind == "free":
        forget_arithmetic()
    imported = time.perf_counter()
    path = run / ("model.onnx" if kind == "onnxruntime" else "openvino")
    # Left to itself, its answers may differ from the golden ones by more than is allowed.
    predictor = runtime(path, threads=threads, check=kind != "free")
    files = [path] if path.is_file() else [path / "model.xml", path / "model.bin"]
    disk_mb = sum(file.stat().st_size for file in files) / 1e6
    tell({"import_s": imported - started, "load_s": time.perf_counter() - imported, "disk_mb": disk_mb})
    pixels = np.zeros((8, *[predictor.contract.preprocessing.image_size_px] * 2, 3), np.uint8)
    for line in sys.stdin:
        what = json.loads(line)
        if "photos" in what:
            pixels = np.stack([predictor.pixels(photo) for photo in what["photos"]])
            tell(len(pixels))
        elif "answers" in what:
            tell(predictor.answers(what["answers"]).tolist())
        elif "memory" in what:
            predictor.run(pixels[:1])
            tell(memory_mb())
        else:
            tell(ms_per_run(predictor, pixels, what["batch"], what["seconds"]))


def forget_arithmetic() -> None:
    """Let OpenVINO choose its arithmetic, as it does for whoever does not say."""
    from finetune_openvino import engine

    class Free(engine.openvino.Core):  # type: ignore[misc]
        def compile_model(self, model: Any, device: str, options: Mapping[str, Any]) -> Any:
            left = {name: value for name, value in options.items() if name != "INFERENCE_PRECISION_HINT"}
            return super().compile_model(model, device, left)

    engine.openvino.Core = Free


def ms_per_run(predictor: Any, pixels: Any, batch: int, seconds: float) -> float:
    """Return the mean milliseconds of a run, after one that does not count."""
    batches = [pixels[i : i + batch] for i in range(0, len(pixels) - batch + 1, batch)]
    predictor.run(batches[0])
    runs, started = 0, time.perf_counter()
    while (spent := time.perf_counter() - started) < seconds or not runs:
        predictor.run(batches[runs % len(batches)])
        runs += 1
    return 1e3 * spent / runs


def memory_mb() -> dict[str, float]:
    """Return the memory of this process, now and at most, from Linux's account of it."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    resident, peak = (int(lines[name].split()[0]) * 1024 / 1e6 for name in ("VmRSS", "VmHWM"))
    return {"resident_mb": resident, "peak_mb": peak}


def tell(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    if "--child" in sys.argv:
        serve(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
