"""What is measured: the cases of each section, in the order in which they run, plain and ours in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from photos import Photos

Kind = Literal["limit", "fastai", "torch", "ours"]

LIMIT, LIMIT_BF16 = "the limit, float32", "the limit, bf16"
FASTAI_SHORT, FASTAI_LONG = "plain fastai, 5 + 1 epochs", "plain fastai, 5 + 3 epochs"
FASTAI_SMALL = "plain fastai, 5 + 1 epochs, Resize(224)"
TORCH_HEAD, TORCH_ALL = "PyTorch loop, frozen, 8 epochs", "PyTorch loop, all layers, 8 epochs"
PROBE, PROBE_SHORT = "ours: probe, 20 epochs", "ours: probe, 6 epochs"
FINETUNE, PARTIAL = "ours: finetune, 5 + 3 epochs", "ours: partial, 5 + 3 epochs, two stages"
GRADUAL, SVM, LOGREG, AUTO = "ours: gradual, 5 + 3 epochs", "ours: svm", "ours: logreg", "ours: auto"
AGAIN = ", again"
"""What is added to a name for the second run, which finds the first one's cache."""

DATASETS = ("dogs", "catsdogs", "cifar10")
STRATEGIES = ("probe", "svm", "logreg", "partial", "finetune", "auto")
SIZES, EPOCHS = (250, 1_000, 4_000), (1, 10, 50)
TINY_SIZES, TINY_EPOCHS, TINY_PICTURES = (130, 160, 200), (1, 2, 3), 24
LIMIT_S = 2_400.0
"""What a measured process may take before it is ended."""


@dataclass(frozen=True, kw_only=True)
class Case:
    """One thing to measure on the photos in ``data``.

    ``flags`` are those of ``finetune run``, ``job`` what a plain measurement is told. ``every_seed``: it runs once for
    each seed and not once in all. ``again``: the first seed runs a second time, with the cache of the first run.
    ``cache``: it shares a cache with the cases that name the same; without a name it starts with an empty one.
    """

    name: str
    kind: Kind
    data: Path
    arch: str = "mobilenet_v2"
    flags: str = ""
    job: dict[str, Any] = field(default_factory=dict)
    every_seed: bool = False
    again: bool = False
    cache: str = ""


def speed(photos: Photos, tiny: bool, arch: str) -> Iterator[Case]:
    """Yield everything there is to compare on ants and bees."""
    case = partial(Case, data=photos.hymenoptera(), arch=arch)
    ours = partial(case, kind="ours", again=True)
    short, long = ({"freeze_epochs": 1 if tiny else 5, "epochs": 1 if tiny else later} for later in (1, 3))
    flags = f"--freeze-epochs {long['freeze_epochs']} --epochs {long['epochs']}"
    head = "--freeze-epochs 2" if tiny else ""
    yield case(name=LIMIT, kind="limit", job={"dtype": "float32"}, every_seed=True)
    # With two classes the head stands a higher rate than the default, which is made for many.
    yield ours(name=PROBE, flags=f"--strategy probe --lr 0.01 {head}", every_seed=True)
    yield case(name=FASTAI_SHORT, kind="fastai", job={"resize": 460, **short}, every_seed=True)
    yield ours(name=PROBE_SHORT, flags="--strategy probe --freeze-epochs 6")
    yield case(name=TORCH_HEAD, kind="torch", job={"frozen": True, "epochs": 1 if tiny else 8})
    yield ours(name=SVM, flags="--strategy svm")
    yield case(name=FASTAI_LONG, kind="fastai", job={"resize": 460, **long}, every_seed=True)
    yield ours(name=FINETUNE, flags=f"--strategy finetune {flags}", every_seed=True)
    yield case(name=LIMIT_BF16, kind="limit", job={"dtype": "bfloat16"})
    yield ours(name=PARTIAL, flags=f"--strategy partial --unfreeze 2 {flags}", every_seed=True)
    yield case(name=TORCH_ALL, kind="torch", job={"frozen": False, "epochs": 1 if tiny else 8})
    yield ours(name=LOGREG, flags="--strategy logreg")
    yield case(name=FASTAI_SMALL, kind="fastai", job={"resize": 224, **short})
    yield ours(name=AUTO, flags=f"--strategy auto {head} --epochs {long['epochs']}")
    yield ours(name=GRADUAL, flags=f"--strategy gradual {flags}")


def datasets(photos: Photos, tiny: bool) -> Iterator[Case]:
    """Yield our strategies with their default epochs on the three larger sets, the cache of a set shared by all.

    A third of cats and dogs is held out, as for the figure that it is compared with.
    """
    folders = {"dogs": photos.dogs(), "catsdogs": photos.catsdogs(), "cifar10": photos.cifar10()}
    shares = {"dogs": "--valid-share 0.25", "catsdogs": f"--valid-share {1 / 3:.4f}", "cifar10": ""}
    epochs = "--freeze-epochs 1 --epochs 1" if tiny else ""
    for dataset in DATASETS:
        for strategy in STRATEGIES:
            yield Case(
                name=f"{dataset}: {strategy}",
                kind="ours",
                data=folders[dataset],
                flags=f"--strategy {strategy} {shares[dataset]} {epochs}",
                cache=dataset,
            )


def scaling(photos: Photos, tiny: bool) -> Iterator[Case]:
    """Yield the frozen phase at each size and number of epochs."""
    for epochs in TINY_EPOCHS if tiny else EPOCHS:
        for size in TINY_SIZES if tiny else SIZES:
            flags = f"--strategy probe --freeze-epochs {epochs}"
            yield Case(name=scaled(size, epochs), kind="ours", data=photos.mixed(size), flags=flags)


def scaled(size: int, epochs: int) -> str:
    """Return the name of a cell of the scaling table."""
    return f"{size} pictures, {epochs} epochs"


SECTIONS: dict[str, Callable[[Photos, bool], Iterator[Case]]] = {
    "speed-mobilenet_v2": partial(speed, arch="mobilenet_v2"),
    "speed-squeezenet1_1": partial(speed, arch="squeezenet1_1"),
    "datasets": datasets,
    "scaling": scaling,
}
