"""A published network with its weights from a file: what every plain measurement starts from."""

from __future__ import annotations

from typing import Any

from safetensors.torch import load_file
from torch import nn
from torchvision.models import get_model

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""What the weights expect, per channel, on colours from 0 to 1."""


def network(job: dict[str, Any]) -> nn.Module:
    """Return torchvision's network ``job["arch"]``, filled from the file ``job["weights"]``."""
    model: nn.Module = get_model(job["arch"], weights=None)
    model.load_state_dict(load_file(job["weights"]))
    return model
