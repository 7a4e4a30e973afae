"""What pictures show, as numbers: the targets that answers are held against, and those that a network learns.

Shapes: ``N`` pictures, ``K`` labels. Targets are int64 (N,) label indices for single labels, float32 (N, K) of 0 and 1
for several labels, float32 (N, K) values in their own units for regression.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune.errors import DataError
from finetune.types import Example, Task
from finetune_export.contract import Scaling

Targets = NDArray[Any]

COARSEST_STEP = 1e-3
"""The largest step from one float32 to the next that values may be rounded by, in their standard deviations."""


def targets_of(examples: Sequence[Example], labels: Sequence[str], task: Task) -> Targets:
    """Return the targets of pictures, in their order."""
    index = {label: position for position, label in enumerate(labels)}
    if task == "single-label":
        return np.array([index[example.label] for example in examples], dtype=np.int64)
    if task == "regression":
        return np.array([example.values for example in examples], dtype=np.float32).reshape(-1, len(labels))
    shown = np.zeros((len(examples), len(labels)), dtype=np.float32)
    for row, example in zip(shown, examples, strict=True):
        row[[index[label] for label in example.labels]] = 1
    return shown


def refuse_indistinct(examples: Sequence[Example], names: Sequence[str]) -> None:
    """Raise ``DataError`` for values that float32, which targets are, would round by more than ``COARSEST_STEP``.

    ``names`` are those of the values. What never varies loses nothing by it, and passes.
    """
    for name, values in zip(names, np.array([example.values for example in examples]).T, strict=True):
        step, mean, deviation = np.spacing(np.float32(np.abs(values).max())), values.mean(), values.std()
        if np.ptp(values) and step > COARSEST_STEP * deviation:
            raise DataError(
                f"The values of '{name}', {mean:g} on average with a standard deviation of {deviation:g}, are too "
                f"close together for float32, which tells them apart in steps of {step:g}. Subtract a constant, such "
                "as the mean, from the column."
            )


def scaling_of(values: NDArray[np.float32]) -> Scaling:
    """Return the scaling under which values (N, K) have mean 0 and standard deviation 1; a constant keeps its unit."""
    deviations = values.std(axis=0, dtype=np.float64)
    return Scaling(
        offset=tuple(values.mean(axis=0, dtype=np.float64).tolist()),
        scale=tuple(np.where(deviations > 0, deviations, 1.0).tolist()),
    )


def scaled(values: NDArray[np.float32], scaling: Scaling) -> NDArray[np.float32]:
    """Return values (N, K) as the network learns them."""
    learned: NDArray[np.float64] = (values - np.array(scaling.offset)) / np.array(scaling.scale)
    return learned.astype(np.float32)


def text_of(example: Example, task: Task) -> str:
    """Return what a picture shows as one text, for tables: labels are separated by '|', values by spaces."""
    if task == "single-label":
        return example.label
    if task == "multi-label":
        return "|".join(example.labels)
    return " ".join(repr(float(value)) for value in example.values)  # numpy's own numbers say their type, too


def example_of(path: Path, text: str, task: Task) -> Example:
    """Return the example that ``text_of`` made the text of."""
    if task == "single-label":
        return Example(path=path, label=text)
    if task == "multi-label":
        return Example(path=path, labels=tuple(text.split("|")) if text else ())
    return Example(path=path, values=tuple(map(float, text.split())))
