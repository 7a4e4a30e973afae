"""What a run is after: what the network learns of the targets, what it answers, and the metric that chooses.

Shapes: ``N`` pictures, ``K`` labels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finetune.data.targets import Targets, scaled, scaling_of, targets_of
from finetune.errors import ConfigError
from finetune.evaluation.catalogue import HEADLINE, METRICS, metrics_of, shown
from finetune.evaluation.metrics import score
from finetune.names import unknown_name
from finetune.networks.answering import Answering
from finetune.types import Example, Task
from finetune_export.contract import Scaling


@dataclass(frozen=True, kw_only=True)
class Objective:
    """The task of a run with its labels, the scaling of its values (regression only), and the monitored metric."""

    task: Task
    labels: tuple[str, ...]
    monitor: str
    scaling: Scaling | None = None

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
        """Return the monitored metric of logits (N, K)."""
        return score(self.monitor, self.task, self.answers(logits), targets)

    def merit(self, value: float) -> float:
        """Return a number that is higher for a better score; one that is undefined is worse than any."""
        if math.isnan(value):
            return -math.inf
        return value if METRICS[self.monitor].higher_is_better else -value

    def shown(self, value: float) -> str:
        """Return a score as people read it: "97.4%", or a number for losses and errors."""
        return shown(self.monitor, value)


def objective_of(task: Task, labels: tuple[str, ...], monitor: str | None, train: tuple[Example, ...]) -> Objective:
    """Return the objective of a run; raise ``ConfigError`` for a metric that the task does not have."""
    allowed = [metric.name for metric in metrics_of(task)]
    if monitor is not None and monitor not in allowed:
        raise ConfigError(unknown_name(f"--monitor for a {task} task", monitor, allowed))
    scaling = scaling_of(targets_of(train, labels, task)) if task == "regression" else None
    return Objective(task=task, labels=labels, monitor=monitor or HEADLINE[task], scaling=scaling)
