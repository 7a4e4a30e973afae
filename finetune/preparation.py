"""Everything that must be right before anything is trained: options, data set, audit, split, network and weights."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import torch

from finetune.config import RunConfig, Strategy, flag
from finetune.data.audit import Audit, audit
from finetune.data.splits import Split, rules_of, split
from finetune.data.targets import Targets, refuse_indistinct, targets_of
from finetune.errors import ConfigError, DataError
from finetune.evaluation.catalogue import HEADLINE, monitored
from finetune.evaluation.measuring import answered, measured
from finetune.evaluation.metrics import BUILT_IN, TOP, score
from finetune.given_weights import architecture_behind
from finetune.intent import Intent
from finetune.loading import load_dataset
from finetune.networks.network import BackboneModel, Network, assemble, build_backbone, group_names, keep_up_to
from finetune.networks.weights import WeightsUsed, load_weights
from finetune.reporting import SILENT
from finetune.types import Backbone, Dataset, Metric, Reporter, Task
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
        """Where the backbone's code comes from: its name, its function, and the distribution with its version.

        Of one with carried weights, the same of its architecture as well, which is what is built.
        """
        backbone, plugins = self.intent.backbone, self.intent.plugins
        built = architecture_behind(backbone, plugins)
        return ", ".join(
            f"{each.name}: {each.build} of {plugins.origin('backbone', each.name)}"
            for each in (backbone, *([built] if built else []))
        )

    @property
    def valid_targets(self) -> Targets:
        """What the validation pictures show, in the order of the split: see ``finetune.data.targets``."""
        return targets_of(self.split.valid, self.dataset.labels, self.dataset.task)


@dataclass(frozen=True, kw_only=True)
class PicturesRead:
    """A data set whose pictures were all read once."""

    dataset: Dataset
    audit: Audit


def read_pictures(intent: Intent, reporter: Reporter) -> PicturesRead:
    """Load and audit the pictures; raise ``DataError`` where they cannot be trained on."""
    dataset = load_dataset(intent, reporter)
    refuse_unsuitable(intent, dataset)
    audited = audit(dataset, intent.config.max_unreadable, reporter)
    if dataset.task == "regression":
        refuse_indistinct(dataset.examples, dataset.labels)
    return PicturesRead(dataset=dataset, audit=audited)


def prepare(intent: Intent, reporter: Reporter, read: PicturesRead | None = None) -> Job:
    """Load, audit and split the pictures, or split those that were ``read``, and build the network with its weights.

    Seeds torch first, so that a new head starts alike for the same seed. Raises ``DataError`` for pictures that
    cannot be trained on, ``PluginError`` for a monitored metric that fails, and what building and loading the backbone
    raises.
    """
    config, found = intent.config, read or read_pictures(intent, reporter)
    dataset, audited = found.dataset, found.audit
    division = divide(found, config)
    _try_to_measure(monitored(intent.plugins.metrics, dataset.task, config.monitor), dataset, division)
    preprocessing, network, weights = _seeded(intent, len(dataset.labels), reporter)
    notes = (
        *dataset.notes,
        *_ignored(dataset),
        *audited.notes(),
        *division.notes,
        weights.note,
        *_unused_notes(intent, dataset.task),
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


def refuse_unsuitable(intent: Intent, dataset: Dataset) -> None:
    """Raise ``ConfigError`` for an option that has no meaning for the task or the labels of a data set."""
    config, task, labels = intent.config, dataset.task, len(dataset.labels)
    if config.task not in ("auto", task):
        raise ConfigError(f"--task {config.task} is not allowed: the labels of this data set are {task}.")
    if task != "single-label" and config.strategy in ("svm", "logreg"):
        raise ConfigError(f"--strategy {config.strategy} tells single labels apart, and the task is {task}.")
    if task != "single-label" and config.abstain_at is not None:
        raise ConfigError(f"--abstain-at is for single labels, and the task is {task}; leave it out.")
    if task == "regression" and config.imbalance != "none":
        raise ConfigError(f"--imbalance {config.imbalance} is about classes, and regression has none; leave it out.")
    monitored(intent.plugins.metrics, task, config.monitor)
    for name in config.metric:
        monitored(intent.plugins.metrics, task, name, "--metric")
    if config.monitor == "top-5" and labels <= TOP:
        raise ConfigError(f"--monitor top-5 of {labels} labels is always 100%; give another, such as accuracy.")


def divide(read: PicturesRead, config: RunConfig) -> Split:
    """Return how a run divides the pictures; of ``folds`` without a ``fold``, the first, once each of them was tried.

    Raises ``DataError`` for a part that cannot be learnt from or measured on, naming the fold, and what ``split`` does.
    """
    if config.folds is None:
        return _measurable(read, config)
    each = [config.fold] if config.fold else range(1, config.folds + 1)
    divisions = [_measurable_fold(read, replace(config, fold=fold)) for fold in each]
    return divisions[0]


def _measurable_fold(read: PicturesRead, config: RunConfig) -> Split:
    try:
        return _measurable(read, config)
    except DataError as error:
        raise DataError(f"Fold {config.fold} of {config.folds}: {error}") from error


def _measurable(read: PicturesRead, config: RunConfig) -> Split:
    division = split(read.audit, read.dataset, rules_of(config))
    _refuse_unmeasurable(read.dataset, division, config)
    return division


def _refuse_unmeasurable(dataset: Dataset, division: Split, config: RunConfig) -> None:
    """Refuse validation pictures that leave undefined what epochs are chosen and files are judged by."""
    others = "--folds and --seed" if config.folds else "--valid-share and --split"
    targets = targets_of(division.valid, dataset.labels, dataset.task)
    none = np.zeros((len(targets), len(dataset.labels)), np.float32)  # whichever answers, it is undefined or it is not
    for metric in (HEADLINE[dataset.task], config.monitor or HEADLINE[dataset.task]):
        if metric in BUILT_IN and np.isnan(score(metric, dataset.task, none, targets)):
            raise DataError(
                f"The {metric} of the {len(targets)} validation pictures is undefined: they all show the same. "
                f"Hold out others, see {others}."
            )


def _try_to_measure(metric: Metric, dataset: Dataset, division: Split) -> None:
    """Ask a metric about answers that are all right: one that fails does so now, and not after the first epoch."""
    targets = targets_of(division.valid, dataset.labels, dataset.task)
    right = np.eye(len(dataset.labels))[targets] if dataset.task == "single-label" else targets
    measured(metric, answered(dataset.task, dataset.labels, right.astype(np.float32), targets))


def with_backbone(job: Job, intent: Intent, reporter: Reporter) -> Job:
    """Return the job with the backbone and weights of another intent, on the same pictures in the same split."""
    preprocessing, network, weights = _seeded(intent, len(job.dataset.labels), reporter)
    return replace(job, intent=intent, preprocessing=preprocessing, network=network, weights=weights)


def _seeded(intent: Intent, classes: int, reporter: Reporter) -> tuple[Preprocessing, Network, WeightsUsed]:
    """Return preprocessing, network and weights of a run; seeds torch first, so that a new head starts alike."""
    torch.manual_seed(intent.config.seed)
    preprocessing = preprocessing_for(intent)
    return preprocessing, *build_network(intent, classes, preprocessing.image_size_px, reporter)


def preprocessing_for(intent: Intent) -> Preprocessing:
    """Return the preprocessing of a run: the backbone's, at the size that was asked for."""
    backbone = intent.backbone
    return Preprocessing(
        image_size_px=intent.config.image_size or backbone.image_size_px,
        crop_fraction=intent.config.crop_fraction or backbone.crop_fraction,
        mean=backbone.mean,
        std=backbone.std,
    )


def build_network(
    intent: Intent, classes: int, image_size_px: int, reporter: Reporter = SILENT
) -> tuple[Network, WeightsUsed]:
    """Return the backbone's body with its weights under a new head for so many classes."""
    config = intent.config
    model = keep_up_to(build_backbone(intent.backbone, image_size_px), config.layer)
    _refuse_too_large(model, intent.backbone)
    asked = "none" if config.strategy == "scratch" else config.weights
    weights = load_weights(model, intent.backbone, asked, reporter)
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


_SLOWER_BELOW = ("unfreeze", "unfrozen_lr", "rate_span")
_LEARNED = ("epochs", "freeze_epochs", "lr", "patience", "average", "mix", "imbalance", "label_smoothing")
_FITTED = (*_LEARNED, "views", "augment")
UNUSED: dict[Strategy, tuple[str, ...]] = {
    "scratch": ("freeze_epochs", "views", *_SLOWER_BELOW),
    "probe": ("epochs", *_SLOWER_BELOW),
    "svm": (*_FITTED, *_SLOWER_BELOW),
    "logreg": (*_FITTED, *_SLOWER_BELOW),
    "gradual": ("unfreeze",),
}
"""Options without a meaning for a strategy; who gives one, and not its default, is told."""


def _unused_notes(intent: Intent, task: Task) -> tuple[str, ...]:
    config = intent.config
    strategy, varied = strategy_of(config), config.augment != "none"
    unused = {
        f"--strategy {strategy}": UNUSED.get(strategy, ()),
        f"--schedule {config.schedule}": ("gamma", "step_epochs") * (config.schedule != "StepLR"),
        "--augment none": ("views",) * (config.views > 1 and not varied),
        "--strategy probe and --views 1": ("augment",) * (strategy == "probe" and config.views == 1 and varied),
        f"--folds {config.folds}": ("valid_share",) * (config.folds is not None),
        "--imbalance focal": ("label_smoothing",) * (config.imbalance == "focal" and task == "single-label"),
        f"{task} targets": ("label_smoothing",) * (task != "single-label"),
    }
    return tuple(
        f"With {reason}, {', '.join(map(flag, said))} {'have' if len(said) > 1 else 'has'} no effect."
        for reason, names in unused.items()
        if (said := [name for name in names if getattr(config, name) != getattr(intent.defaults, name)])
    )


def _ignored(dataset: Dataset) -> tuple[str, ...]:
    if not dataset.ignored:
        return ()
    return (f"Left out {len(dataset.ignored)} file(s) that are no pictures by their name, first {dataset.ignored[0]}.",)
