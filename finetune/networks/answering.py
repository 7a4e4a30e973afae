"""The last step of every model: from the network's logits to the answers of its task.

The trainer, the exported graph and the proof of the export all take it from here. Shapes: ``N`` pictures, ``K``
labels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from finetune_export.contract import Scaling, Task


class Answering(nn.Module):
    """Maps logits float32 (N, K) to answers float32 (N, K), as the task has them.

    Single labels: the softmax of the logits divided by the temperature. Several labels: the sigmoid of the same.
    Regression: output × scale + offset, which are the values in their own units.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, task: Task, temperature: float = 1.0, scaling: Scaling | None = None) -> None:
        super().__init__()
        self.task: Task = task
        self.temperature = temperature
        if task == "regression":
            assert scaling is not None, "regression learns scaled values, and has to answer with them as they were"
            self.register_buffer("scale", torch.tensor(scaling.scale, dtype=torch.float32))
            self.register_buffer("offset", torch.tensor(scaling.offset, dtype=torch.float32))

    def forward(self, logits: Tensor) -> Tensor:
        """Return the answers (N, K) that logits (N, K) stand for."""
        if self.task == "regression":
            return logits * self.scale + self.offset
        scaled = logits / self.temperature
        return scaled.softmax(dim=1) if self.task == "single-label" else scaled.sigmoid()
