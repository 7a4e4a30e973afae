"""What every section works with: a model, photos, a folder for what is temporary, and how long to measure."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import onnx
from processes import Processes

from finetune_export import model_file
from finetune_export.contract import CONTRACT_KEY, contract_of

TRAINING = "--backbone mobilenet_v2 --strategy probe --crop-fraction 0.875 --seed 42 --json"
WEIGHTS = "mobilenet_v2.safetensors"
SEED = 7
SUFFIXES = {".jpg", ".jpeg", ".png"}


@dataclass(frozen=True, kw_only=True)
class Lengths:
    """How long and how often to measure; ``parts`` are those of the soak, after each of which it looks."""

    seconds: float = 20.0
    warm_up_s: float = 2.0
    repeats: int = 3
    overload_s: float = 30.0
    requests: int = 100_000
    parts: int = 12
    swaps: int = 50
    photos: int = 2_000
    fastai_photos: int = 200


TINY = Lengths(
    seconds=1.0,
    warm_up_s=0.2,
    repeats=1,
    overload_s=1.0,
    requests=300,
    parts=2,
    swaps=3,
    photos=40,
    fastai_photos=10,
)


@dataclass(frozen=True)
class Workplace:
    """``run`` is a run's folder or a model file; ``photos`` are picture files; ``options`` are for our service."""

    processes: Processes
    run: Path
    photos: Sequence[Path]
    lengths: Lengths
    options: Sequence[str] = ()
    litserve: Path | None = None

    @property
    def work(self) -> Path:
        """The folder for what is temporary."""
        return self.processes.work

    @property
    def cores(self) -> int:
        """How many cores there are."""
        return os.cpu_count() or 1

    @property
    def model(self) -> Path:
        """The model file."""
        return self.run / "model.onnx" if self.run.is_dir() else self.run

    @cached_property
    def twin(self) -> Path:
        """A model that answers the same under another version: its graph has another name."""
        file = model_file.read(self.model)
        graph = onnx.load(self.model)
        del graph.metadata_props[:]
        graph.graph.name += "-twin"
        data = graph.SerializeToString()
        contract = replace(contract_of(file), graph_sha256=model_file.read(data).graph_sha256)
        path = self.work / "twin.onnx"
        path.write_bytes(model_file.with_metadata(data, {**file.metadata, CONTRACT_KEY: contract.to_json()}))
        return path


def trained(real: Path, weights: Path, out: Path) -> Path:
    """Fine-tune on the real photos and return the run's folder."""
    inputs = ["--data", str(real / "hymenoptera"), "--weights", str(weights / WEIGHTS), "--out", str(out)]
    command = [sys.executable, "-m", "finetune", "run", *inputs, *TRAINING.split()]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    return Path(json.loads(ended.stdout)["run"])


def photos_in(folder: Path) -> list[Path]:
    """Return the JPEG and PNG files below a folder, shuffled, and always in the same way."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    random.Random(SEED).shuffle(found)
    return found
