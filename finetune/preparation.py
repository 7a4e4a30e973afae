"""Everything that must be right before anything is trained: options, data set, audit, split, network and weights."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from platformdirs import user_cache_path

from finetune.config import RunConfig, Strategy, flag
from finetune.data.audit import Audit, audit
from finetune.data.splits import Split, split
from finetune.errors import ConfigError, DataError, PluginError
from finetune.intent import Intent
from finetune.networks.network import BackboneModel, Network, assemble, build_backbone, group_names, keep_up_to
from finetune.networks.weights import WeightsUsed, load_weights
from finetune.plugins import blaming, load_function
from finetune.types import Backbone, Columns, Dataset, DatasetRequest, Reporter
from finetune_export.contract import Preprocessing

LARGEST_ONNX_BYTES = 2**31 - 2**24
"""What protobuf can hold, less room for graph and metadata."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run that is ready to train: nothing that can be known to fail beforehand is left."""

    intent: Intent
    dataset: Dataset
    audit: Audit
    split: Split
    preprocessing: Preprocessing
    network: Network
    weights: WeightsUsed
    notes: tuple[str, ...] = field(default=())

    @property
    def config(self) -> RunConfig:
        """The resolved options."""
        return self.intent.config

    @property
    def name(self) -> str:
        """What the run is called: the data set and the backbone."""
        return f"{self.dataset.name}-{self.intent.backbone.name}"

    @property
    def groups(self) -> list[str]:
        """The names of the parameter groups, from the stem to the head."""
        return group_names(self.network.body)

    @property
    def strategy(self) -> Strategy:
        """What was asked for; with random weights there is nothing to choose, and 'auto' is 'scratch'."""
        return strategy_of(self.config)

    @property
    def is_random(self) -> bool:
        """Whether the body starts from random weights."""
        return self.strategy == "scratch" or self.config.weights == "none"

    @property
    def backbone_origin(self) -> str:
        """Where the backbone's code comes from: its name, its function, and the distribution with its version."""
        backbone = self.intent.backbone
        return f"{backbone.name}: {backbone.build} of {self.intent.plugins.origin('backbone', backbone.name)}"

    @property
    def valid_targets(self) -> NDArray[np.int64]:
        """The validation pictures' label indices, int64 (N,), in the order of the split."""
        return np.array([self.dataset.labels.index(example.label) for example in self.split.valid], dtype=np.int64)


def prepare(intent: Intent, reporter: Reporter) -> Job:
    """Load, audit and split the pictures, and build the network with its weights.

    Seeds torch first, so that a new head starts alike for the same seed. Raises ``DataError`` for pictures that
    cannot be trained on, and what building and loading the backbone raises.
    """
    config = intent.config
    dataset = load_dataset(intent, reporter)
    audited = audit(dataset, config.max_unreadable, reporter)
    division = split(audited, dataset.labels, config.valid_share, config.seed)
    preprocessing, network, weights = _seeded(intent, len(dataset.labels))
    notes = (
        *dataset.notes,
        *_ignored(dataset),
        *audited.notes(),
        *division.notes,
        weights.note,
        *_unused_note(config),
    )
    for note in notes:
        reporter.note(note)
    return Job(
        intent=intent,
        dataset=dataset,
        audit=audited,
        split=division,
        preprocessing=preprocessing,
        network=network,
        weights=weights,
        notes=notes,
    )


def with_backbone(job: Job, intent: Intent) -> Job:
    """Return the job with the backbone and weights of another intent, on the same pictures in the same split."""
    preprocessing, network, weights = _seeded(intent, len(job.dataset.labels))
    return replace(job, intent=intent, preprocessing=preprocessing, network=network, weights=weights)


def _seeded(intent: Intent, classes: int) -> tuple[Preprocessing, Network, WeightsUsed]:
    """Return preprocessing, network and weights of a run; seeds torch first, so that a new head starts alike."""
    torch.manual_seed(intent.config.seed)
    preprocessing = preprocessing_for(intent)
    return preprocessing, *build_network(intent, classes, preprocessing.image_size_px)


def load_dataset(intent: Intent, reporter: Reporter) -> Dataset:
    """Return the data set, made or fetched into a cache folder of its own where it is not at hand."""
    spec, data = intent.spec, intent.config.data
    what = f"The data set '{spec.name}'"
    load = load_function(spec.load, what)
    cache = user_cache_path("finetune") / "datasets" / spec.name
    request = DatasetRequest(
        source=intent.source.name,
        data=data,
        cache=cache,
        reporter=reporter,
        name=intent.config.name,
        columns=columns_of(intent.config),
    )
    with blaming(what):
        dataset = load(request)
    if not isinstance(dataset, Dataset):
        raise PluginError(f"{what} is broken: {spec.load} returned {type(dataset).__name__} instead of Dataset.")
    check_dataset(dataset)
    return dataset


def columns_of(config: RunConfig) -> Columns:
    """Return where a table has what, as the options say it."""
    return Columns(
        task=None if config.task == "auto" else config.task,
        image=config.image_col,
        labels=config.label_col,
        separator=config.label_separator,
        part=config.split_col,
        group=config.group_col,
        skip_missing=config.skip_missing,
    )


def preprocessing_for(intent: Intent) -> Preprocessing:
    """Return the preprocessing of a run: the backbone's, at the size that was asked for."""
    backbone = intent.backbone
    return Preprocessing(
        image_size_px=intent.config.image_size or backbone.image_size_px,
        crop_fraction=intent.config.crop_fraction or backbone.crop_fraction,
        mean=backbone.mean,
        std=backbone.std,
    )


def build_network(intent: Intent, classes: int, image_size_px: int) -> tuple[Network, WeightsUsed]:
    """Return the backbone's body with its weights under a new head for so many classes."""
    config = intent.config
    model = keep_up_to(build_backbone(intent.backbone, image_size_px), config.layer)
    _refuse_too_large(model, intent.backbone)
    weights = load_weights(model, intent.backbone, "none" if config.strategy == "scratch" else config.weights)
    return assemble(model, classes, image_size_px, config.head), weights


def strategy_of(config: RunConfig) -> Strategy:
    """Return the strategy of a run: with random weights there is nothing to choose, and 'auto' is 'scratch'."""
    return "scratch" if config.strategy == "auto" and config.weights == "none" else config.strategy


def _refuse_too_large(model: BackboneModel, backbone: Backbone) -> None:
    """Refuse now what could not be exported after hours of training."""
    size = sum(4 * parameter.numel() for _, stage in model.stages for parameter in stage.parameters())
    if size > LARGEST_ONNX_BYTES:
        raise ConfigError(
            f"--backbone {backbone.name} is not allowed: its {size / 1e9:.1f} GB of weights do not fit into one ONNX "
            f"file, which holds at most {LARGEST_ONNX_BYTES / 1e9:.1f} GB. Choose a smaller one."
        )


def check_dataset(dataset: Dataset) -> None:
    """Refuse now what a data set could only be blamed for after training.

    Raises ``PluginError`` for repeated labels or paths that are none, ``DataError`` for fewer than two classes.
    """
    what = f"The data set '{dataset.name}'"
    if len(set(dataset.labels)) < len(dataset.labels):
        raise PluginError(f"{what} is broken: its labels are not unique: {', '.join(dataset.labels)}.")
    if not all(isinstance(example.path, Path) for example in dataset.examples):
        raise PluginError(f"{what} is broken: the path of an example is not a pathlib.Path.")
    if len(dataset.labels) < 2 or not dataset.examples:
        raise DataError(
            f"{what} holds {len(dataset.examples)} pictures of {len(dataset.labels)} class(es); at least two classes "
            "are needed. Check --data."
        )


UNUSED: dict[Strategy, tuple[str, ...]] = {
    "scratch": ("unfreeze", "unfrozen_lr"),
    "probe": ("unfreeze", "unfrozen_lr"),
    "svm": ("unfreeze", "unfrozen_lr"),
    "logreg": ("unfreeze", "unfrozen_lr"),
    "gradual": ("unfreeze",),
}
"""Options without a meaning for a strategy; who gives one is told."""


def _unused_note(config: RunConfig) -> tuple[str, ...]:
    strategy = strategy_of(config)
    said = [flag(name) for name in UNUSED.get(strategy, ()) if getattr(config, name) is not None]
    return (f"With --strategy {strategy}, {', '.join(said)} has no effect.",) if said else ()


def _ignored(dataset: Dataset) -> tuple[str, ...]:
    if not dataset.ignored:
        return ()
    return (f"Left out {len(dataset.ignored)} file(s) that are no pictures by their name, first {dataset.ignored[0]}.",)
