"""Answers as lines for people: what the model says, and then the picture's path.

The path comes last, so that lines are aligned before all of them are known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from finetune_export.bulk.answers import Answer, Question
from finetune_export.cli.output import cells, pad, visible

WIDEST = 32  # of labels, that others are aligned with


def table(answers: Iterable[Answer], question: Question) -> Iterator[str]:
    """Yield a line for each answer, which has no error."""
    width = min(WIDEST, max(map(cells, question.labels)) + 1)
    for answer in answers:
        yield visible(_said(answer, question, width) + answer.path) + "\n"


def _said(answer: Answer, question: Question, width: int) -> str:
    """Return what the model says: the best labels, the given ones, or the values by their names."""
    if answer.values is not None:
        named = zip(question.labels, answer.values, strict=True)
        return "".join(f"{name} {value:<12.6g}  " for name, value in named)
    top = [(label, f"{probability:6.1%}") for label, probability in answer.top]
    if answer.labels is None:
        top[0] = (top[0][0] + "?" * bool(answer.abstains), top[0][1])
    given = "" if answer.labels is None else pad(", ".join(answer.labels) or "–", WIDEST) + "  "
    return given + "".join(f"{probability}  {pad(label, width)}  " for label, probability in top)
