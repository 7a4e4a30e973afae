"""The metric ``worst-recall``."""

import numpy as np

from finetune.types import Answered


def worst_recall(answered: Answered) -> float:
    """Return the least of the labels' recalls, 0..1; NaN where a label has no picture."""
    given = answered.answers.argmax(axis=1)
    shown = [answered.targets == label for label in range(len(answered.labels))]
    if not all(pictures.any() for pictures in shown):
        return float("nan")
    return float(min(np.mean(given[pictures] == label) for label, pictures in enumerate(shown)))
