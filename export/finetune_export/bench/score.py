"""The metric on real pictures: a folder with a folder of pictures for each label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune_export.bulk.sources import below
from finetune_export.errors import ImageError, UsageError
from finetune_export.predictor import Prediction, Predictor

Labelled = tuple[str, str]
"""A picture's path and its label."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """How many pictures were ``judged`` and how many of these got their label; ``refused`` ones could not be read."""

    right: int
    judged: int
    refused: int

    @property
    def accuracy(self) -> float:
        """The share of judged pictures with the right label, 0..1."""
        return self.right / self.judged

    @property
    def total(self) -> int:
        """How many pictures there were, with the refused ones."""
        return self.judged + self.refused

    @property
    def share_right(self) -> float:
        """The share of all pictures with the right label, 0..1; refused ones count as wrong."""
        return self.right / self.total


def labelled_pictures(folder: Path, labels: Sequence[str]) -> list[Labelled]:
    """Return the pictures below a folder with their labels, which their folders are named after, in a fixed order.

    Hidden files and folders are left out, and no linked folder is followed, as everywhere. Raises ``UsageError`` where
    the folder is missing, has no pictures, or has a folder that is not one of ``labels`` or cannot be read.
    """
    if not folder.is_dir():
        raise UsageError(f"--data {folder}: not a folder; give one with a folder of pictures for each label")
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if unknown := [path.name for path in classes if path.name not in labels]:
        raise UsageError(f"--data {folder}: {unknown[0]!r} is not a label of the model; it has {_shown(labels)}")
    found = [(path, parent.name) for parent in classes for path in _pictures(parent)]
    if not found:
        raise UsageError(f"--data {folder}: no pictures; it has to have a folder of pictures for each label")
    return found


def score(predictor: Predictor, pictures: Sequence[Labelled]) -> Score:
    """Return how many pictures get their label; raise ``ImageError`` if not one of them can be read."""
    right = judged = 0
    refusal: ImageError | None = None
    answers = predictor.stream(path for path, _ in pictures)
    for answer, (_, label) in zip(answers, pictures, strict=True):
        if isinstance(answer, Prediction):
            judged += 1
            right += answer.label == label
        else:
            refusal = refusal or answer
    if refusal and not judged:
        raise refusal
    return Score(right=right, judged=judged, refused=len(pictures) - judged)


def _pictures(folder: Path) -> Iterator[str]:
    for entry in below(str(folder)):
        if entry.problem:
            raise UsageError(f"--data {entry.path}: {entry.problem}; mend that, or leave it out")
        yield entry.path


def _shown(labels: Sequence[str]) -> str:
    return ", ".join(labels[:5]) + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")
