"""What is asked about each picture, and the answer: a prediction in short, or the reason why there is none."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from finetune_export.bulk.sources import Entry
from finetune_export.contract import Task
from finetune_export.errors import ImageError, ModelError, UsageError
from finetune_export.golden_pictures import pictures as generated
from finetune_export.image import Limits, Pixels
from finetune_export.prediction import Prediction
from finetune_export.predictor import Predictor


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked about every picture: ``top`` labels with their probabilities, with the embedding or without it.

    ``model`` is the path of the model file, ``limits`` how large a picture may be, ``providers`` onnxruntime's.
    ``task`` and ``labels`` are the model's, once the question is ``fitted`` to it.
    """

    model: str
    task: Task = "single-label"
    labels: tuple[str, ...] = ()
    top: int = 0
    embeddings: bool = False
    providers: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Answer:
    """The answer for one picture: its ``error``, or else what the task has: a label, labels, or values.

    ``labels`` are those that are given, most probable first, ``values`` in the order of the model's labels. ``top`` are
    the most probable labels, best first, and ``embedding`` what the network's head sees, if asked for. Numbers have the
    digits that make the float32 unique.
    """

    path: str
    error: str | None = None
    label: str | None = None
    probability: float | None = None
    abstains: bool | None = None
    labels: tuple[str, ...] | None = None
    values: tuple[float, ...] | None = None
    top: tuple[tuple[str, float], ...] = ()
    embedding: tuple[float, ...] | None = None


def open_predictor(question: Question, *, check: bool) -> Predictor:
    """Return the predictor that answers, on one thread: the processors are shared by processes, not by threads.

    An answer then depends on the picture and its batch alone, however many processes there are. Pillow's warnings are
    silenced in this process: what matters about a picture is in its answer.
    """
    warnings.filterwarnings("ignore", module="PIL")
    return Predictor(
        question.model, check=check, providers=question.providers or None, threads=1, limits=question.limits
    )


def fitted(question: Question, predictor: Predictor) -> Question:
    """Return the question as the model can answer it: with its task and labels, and no more of these than it has.

    Of single labels the best one is asked for at least. Raises ``UsageError`` for the top labels of a regression.
    """
    task, labels = predictor.task, predictor.labels
    if question.top and task == "regression":
        raise UsageError(f"--top {question.top}: {predictor.path} answers with values, not with labels; leave it out")
    top = min(question.top or task == "single-label", len(labels))
    return replace(question, task=task, labels=labels, top=top)


def answer(predictor: Predictor, question: Question, batch: Sequence[Entry]) -> list[Answer]:
    """Return the answers for a batch of pictures, which go through the network together.

    Where the network fails on them, each goes through it alone, and one that it fails on again is answered with that.
    Raises ``ModelError`` if the network fails on a generated picture, too: then it is not the pictures' fault.
    """
    try:
        return _answers(predictor, question, batch)
    except ModelError as failure:
        if len(batch) > 1:
            return [row for entry in batch for row in answer(predictor, question, [entry])]
        _run_generated(predictor)
        return [Answer(batch[0].path, error=str(failure).removeprefix(f"{predictor.path}: "))]


def _run_generated(predictor: Predictor) -> None:
    """Raise ``ModelError`` where the network fails on a picture that every model has to answer."""
    predictor.run(predictor.pixels(next(iter(generated().values())))[np.newaxis])


def _answers(predictor: Predictor, question: Question, batch: Sequence[Entry]) -> list[Answer]:
    looked_at = [_pixels_or_problem(predictor, entry) for entry in batch]
    rows = _rows(predictor, [found for found in looked_at if not isinstance(found, str)])
    return [
        Answer(entry.path, error=found)
        if isinstance(found, str)
        else _answer(predictor, question, entry.path, *next(rows))
        for entry, found in zip(batch, looked_at, strict=True)
    ]


def _rows(predictor: Predictor, pixels: Sequence[Pixels]) -> Iterator[tuple[Any, Any]]:
    return zip(*predictor.run(np.stack(pixels)), strict=True) if pixels else iter(())


def _pixels_or_problem(predictor: Predictor, entry: Entry) -> Pixels | str:
    if entry.problem:
        return entry.problem
    try:
        return predictor.pixels(entry.path)
    except ImageError as exc:
        return exc.reason


def _answer(predictor: Predictor, question: Question, path: str, answers: Any, embedding: Any) -> Answer:
    prediction = predictor.prediction(path, answers)
    top = prediction.top(question.top) if question.top else []
    return Answer(
        path,
        **_of_the_task(prediction),
        top=tuple((label, _short(probability)) for label, probability in top),
        embedding=tuple(map(_short, embedding)) if question.embeddings else None,
    )


def _of_the_task(prediction: Prediction) -> dict[str, Any]:
    """Return what an answer has besides the top labels."""
    if prediction.task == "regression":
        return {"values": tuple(map(_short, prediction.answers))}
    if prediction.task == "multi-label":
        return {"labels": prediction.given}
    return {
        "label": prediction.label,
        "probability": _short(prediction.probability),
        "abstains": prediction.abstains,
    }


def _short(value: float) -> float:
    """Return the float with the fewest digits that is the same float32."""
    return float(str(np.float32(value)))
