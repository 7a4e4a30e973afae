"""The three ways of training that are compared: what a run of each is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

SCRATCH, PROBE, FINETUNED = WAYS = ("from scratch", "probe", "fine-tuned")
PAIRS = ((FINETUNED, SCRATCH), (PROBE, SCRATCH), (FINETUNED, PROBE))
"""Which is held against which."""
BATCH_SIZE = 16
FEWEST_EPOCHS = 4
"""With a quarter of them for the head alone, fine-tuning needs at least so many."""


@dataclass(frozen=True, kw_only=True)
class Start:
    """Where training starts: a backbone, its weights as ``--weights`` has them, and the pictures' side in pixels."""

    backbone: str
    weights: str
    image_size: int = 64


def options(way: str, start: Start, epochs: int) -> dict[str, Any]:
    """Return what a run of a way is told: the same epochs for each, and rates that suit it.

    A quarter of the epochs of fine-tuning are the head's alone.
    """
    frozen = epochs // FEWEST_EPOCHS
    told: dict[str, dict[str, Any]] = {
        SCRATCH: {"strategy": "scratch", "weights": "none", "epochs": epochs, "lr": 0.001},
        PROBE: {"strategy": "probe", "weights": start.weights, "freeze_epochs": epochs, "lr": 0.01},
        FINETUNED: {
            "strategy": "finetune",
            "weights": start.weights,
            "freeze_epochs": frozen,
            "epochs": epochs - frozen,
            "lr": 0.01,
            "unfrozen_lr": 0.001,
            "rate_span": 10,
        },
    }
    return {"backbone": start.backbone, "image_size": start.image_size, "batch_size": BATCH_SIZE, **told[way]}
