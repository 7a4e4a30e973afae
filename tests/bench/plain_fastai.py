"""Measured in a process of its own: fastai as its documentation writes it, and nothing more.

``ImageDataLoaders.from_folder`` with ``Resize(460)`` and ``aug_transforms(size=224)``, ``vision_learner``,
``fine_tune``, each with its defaults, in float32. Two things are ours, because they have to be:

- ``arch`` reads its weights from a file instead of the network.
- fastai knows where to cut SqueezeNet, but not MobileNetV2 (``StopIteration``), and ``vision_learner`` ignores its
  argument ``cut``. So ``model_meta`` is told to cut the classifier off, as for its own VGG and DenseNet, and to
  normalise as for ImageNet; the parameter groups stay fastai's default, body and head.

Takes a JSON object as its argument and ends its output with a line of JSON.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from fastai.callback.core import Callback
from fastai.vision import models
from fastai.vision.all import ImageDataLoaders, Resize, accuracy, aug_transforms, imagenet_stats, set_seed
from fastai.vision.learner import _default_meta, model_meta, vision_learner
from published import network
from torch import nn

MOBILENET_META = {**_default_meta, "cut": -1, "stats": imagenet_stats}


class Stopwatch(Callback):  # type: ignore[misc]
    """Notes the seconds of each fit: ``fine_tune`` makes two, frozen and unfrozen."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def before_fit(self) -> None:
        """Start."""
        self.started = time.perf_counter()

    def after_fit(self) -> None:
        """Stop."""
        self.seconds.append(time.perf_counter() - self.started)


def learner(job: dict[str, Any], stopwatch: Stopwatch) -> Any:
    """Return the learner of the documentation around our photos and weights."""

    def arch(**_: Any) -> nn.Module:
        return network(job)

    model_meta[arch] = model_meta.get(getattr(models, job["arch"], None), MOBILENET_META)
    dls = ImageDataLoaders.from_folder(
        job["data"],
        train="train",
        valid="val",
        item_tfms=Resize(job["resize"]),
        batch_tfms=aug_transforms(size=224),
        bs=job["batch_size"],
    )
    return vision_learner(dls, arch, metrics=accuracy, cbs=stopwatch)


def main() -> None:
    """Train, and say how long it took and what the last epoch and the best unfrozen one reached."""
    job, stopwatch = json.loads(sys.argv[1]), Stopwatch()
    set_seed(job["seed"])
    learn = learner(job, stopwatch)
    started = time.perf_counter()
    learn.fine_tune(job["epochs"], freeze_epochs=job["freeze_epochs"])
    seconds = time.perf_counter() - started
    reached = [float(values[-1]) for values in learn.recorder.values]
    found = {
        "training_s": seconds,
        "passes": len(learn.dls.train_ds) * (job["freeze_epochs"] + job["epochs"]),
        "accuracy": reached[-1],
        "parts": {"frozen": stopwatch.seconds[0], "unfrozen": stopwatch.seconds[1], "best epoch": max(reached)},
    }
    sys.stdout.write(f"\n{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
