"""What a run is after: what the network learns of the targets, what it answers, and the metric that chooses.

Shapes: ``N`` pictures, ``K`` labels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finetune.builtin.metrics import METRICS
from finetune.data.targets import Targets, scaled, scaling_of, targets_of
from finetune.evaluation.catalogue import metrics_of, monitored, shown
from finetune.evaluation.measuring import answered, measured
from finetune.networks.answering import Answering
from finetune.types import Example, Metric, Task
from finetune_export.contract import Scaling


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The task of a run with its labels, the scaling of its values (regression only), and the monitored ``metric``.

    ``metrics`` are all that the answers are measured by in the end.
    """

    task: Task
    labels: tuple[str, ...]
    metric: Metric
    metrics: tuple[Metric, ...] = ()
    scaling: Scaling | None = None

    @property
    def monitor(self) -> str:
        """The name of the monitored metric."""
        return self.metric.name

    def targets(self, examples: tuple[Example, ...]) -> Targets:
        """Return what answers are held against: see ``finetune.data.targets``."""
        return targets_of(examples, self.labels, self.task)

    def learned(self, targets: Targets) -> Tensor:
        """Return the targets as the network learns them: values scaled, everything else as it is."""
        return torch.from_numpy(targets if self.scaling is None else scaled(targets, self.scaling))

    def answers(self, logits: Tensor, temperature: float = 1.0) -> NDArray[np.float32]:
        """Return the answers, float32 (N, K), that logits (N, K) stand for."""
        with torch.no_grad():
            found: NDArray[np.float32] = Answering(self.task, temperature, self.scaling)(logits).numpy()
        return found

    def score(self, logits: Tensor, targets: Targets) -> float:
        """Return the monitored metric of logits (N, K); raise ``PluginError`` where it fails."""
        return measured(self.metric, answered(self.task, self.labels, self.answers(logits), targets))

    def merit(self, value: float) -> float:
        """Return a number that is higher for a better score; one that is undefined is worse than any."""
        if math.isnan(value):
            return -math.inf
        return value if self.metric.higher_is_better else -value

    def shown(self, value: float) -> str:
        """Return a score as people read it: "97.4%", or a number for losses and errors."""
        return shown(value, self.metric.is_share)


def objective_of(
    task: Task,
    labels: tuple[str, ...],
    monitor: str | None,
    train: tuple[Example, ...],
    metrics: Mapping[str, Metric] = METRICS,
) -> Objective:
    """Return the objective of a run; ``metrics`` are all that are registered, the built-in ones unless told otherwise.

    Raises ``ConfigError`` for a ``monitor`` that the task does not have; None is its headline metric.
    """
    return Objective(
        task=task,
        labels=labels,
        metric=monitored(metrics, task, monitor),
        metrics=metrics_of(metrics, task),
        scaling=scaling_of(targets_of(train, labels, task)) if task == "regression" else None,
    )
