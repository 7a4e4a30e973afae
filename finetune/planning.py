"""What can be known before training: the plan of a run, and the learning rate that suits it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Unpack

from finetune.config import RunConfig, RunOptions
from finetune.data.audit import class_counts
from finetune.intent import discover
from finetune.preparation import Job, prepare
from finetune.reporting import SILENT
from finetune.run_folder import RunFolder
from finetune.training.strategies import Fit, Step, phase_to_measure, plan, ready
from finetune.types import Reporter

RATE_CHART = "lr_find.png"


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """A run that is resolved and not trained; ``class_counts`` are train, validation and test pictures per label.

    Of several labels, a picture counts for each; values have none to count.
    """

    dataset: str
    task: str
    pictures: tuple[int, int, int]
    source: str
    fingerprint: str
    class_counts: dict[str, tuple[int, int, int]]
    refused: int
    backbone: str
    weights: str
    groups: tuple[str, ...]
    strategy: str
    steps: tuple[Step, ...]
    image_size_px: int
    exports: tuple[str, ...]
    config: RunConfig

    def rows(self) -> list[tuple[str, str]]:
        """Return the plan as the rows of a two-column table."""
        train, valid, test = self.pictures
        return [
            ("data", f"{self.dataset} from {self.config.data or self.source}"),
            ("task", self.task),
            ("pictures", f"{train} to train on, {valid} to validate on, {test} to test with, {self.refused} left out"),
            *(("", f"{label}: {' + '.join(map(str, counts))}") for label, counts in self.class_counts.items()),
            ("network", f"{self.backbone} at {self.image_size_px} px, weights: {self.weights}"),
            ("strategy", self.strategy + (", as far as it pays:" if self.strategy == "auto" else "")),
            *(row for step in self.steps for row in self._step_rows(step)),
            ("export", ", ".join(self.exports)),
        ]

    def _step_rows(self, step: Step) -> list[tuple[str, str]]:
        if isinstance(step, Fit):
            return [(step.name, f"fitted to the frozen output of {self.groups[-2]}")]
        rates = [
            f"{name} {rate:.2g}" if rate else f"{name} frozen"
            for name, rate in zip(self.groups, step.rates, strict=True)
        ]
        unit = "as shares of the rate to be found" if self.config.lr == "find" else "highest"
        epochs = "1 epoch" if step.epochs == 1 else f"{step.epochs} epochs"
        return [(step.name, f"{epochs}, rates ({unit}): {', '.join(rates)}")]


def dry_run(*, config_file: Path | None = None, reporter: Reporter = SILENT, **options: Unpack[RunOptions]) -> RunPlan:
    """Resolve everything that ``finetune.run`` would, and train nothing.

    With ``lr="find"`` the rates are relative to the rate that would be found. Of ``folds`` without a ``fold``, all are
    divided, and the first is shown. Raises what ``finetune.run`` or ``finetune.cross_validate`` does before training.
    """
    intent = discover(options, config_file)
    return planned(ready(intent, reporter), ("onnx", *intent.config.target))


def planned(job: Job, exports: tuple[str, ...]) -> RunPlan:
    """Return what would be done about a job, and what it would export."""
    config = job.config
    lr = 1.0 if config.lr == "find" else config.lr
    parts = (job.split.train, job.split.valid, job.split.test)
    train, valid, test = map(class_counts, parts)
    return RunPlan(
        dataset=job.dataset.name,
        task=job.dataset.task,
        pictures=(len(parts[0]), len(parts[1]), len(parts[2])),
        source=job.dataset.source,
        fingerprint=job.audit.fingerprint,
        class_counts={
            label: (train.get(label, 0), valid.get(label, 0), test.get(label, 0))
            for label in job.dataset.labels
            if job.dataset.task != "regression"
        },
        refused=len(job.audit.refused),
        backbone=job.intent.backbone.name,
        weights=job.weights.name,
        groups=tuple(job.groups),
        strategy=job.strategy,
        steps=plan(config, job.groups, lr, job.strategy, job.dataset.task),
        image_size_px=job.preprocessing.image_size_px,
        exports=exports,
        config=config,
    )


@dataclass(frozen=True, kw_only=True)
class FoundRate:
    """The suggested learning rate, and where its curve was drawn."""

    suggestion: float
    picture: Path


def find_rate(
    *, config_file: Path | None = None, reporter: Reporter = SILENT, **options: Unpack[RunOptions]
) -> FoundRate:
    """Measure the learning rate for the first phase of a run and draw its curve into a new run folder.

    Raises as ``finetune.run`` does.
    """
    from finetune.charts import rate_curve
    from finetune.training.trainer import Trainer

    job: Job = prepare(discover(options, config_file), reporter)
    trainer = Trainer(job, reporter)
    curve = trainer.find_rate(phase_to_measure(job.config, job.groups, job.strategy))
    with RunFolder.create(job.config.out, f"lr-find-{job.name}").recorded() as folder:
        folder.record(suggestion=curve.suggestion, dataset=job.dataset.name, backbone=job.intent.backbone.name)
        return FoundRate(suggestion=curve.suggestion, picture=folder.write(RATE_CHART, rate_curve(curve).light))
