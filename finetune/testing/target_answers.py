"""What an artifact answers: as the trained network does, in the form that was agreed on, alike each time."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from finetune.testing.rules import Broken, NotChecked, Rule, fault
from finetune.testing.target_subject import TargetSubject
from finetune.types import Task

SUM_SLACK = 1e-3
"""By how much the probabilities of single labels may miss a sum of 1."""


def _answers(subject: TargetSubject) -> None:
    artifact, pictures = subject.artifact(), subject.trained().valid
    for paths in (pictures, pictures[:1], pictures[:3]):
        try:
            answers = artifact.answers(paths)
        except BaseException as error:  # of the plugin's, whatever it is
            raise Broken(f"{fault(error)} for {_counted(paths)}") from error
        if problem := _form_problem(answers, len(paths), len(subject.trained().contract.labels)):
            raise Broken(f"{problem} for {_counted(paths)}")


def _form_problem(answers: object, pictures: int, labels: int) -> str:
    if not isinstance(answers, np.ndarray):
        return type(answers).__name__
    if answers.dtype != np.float32 or answers.shape != (pictures, labels):
        return f"{answers.dtype} {answers.shape}"
    return ""


def _counted(paths: Sequence[Path]) -> str:
    return f"{len(paths)} picture{'s' * (len(paths) > 1)}"


def _gives_probabilities(subject: TargetSubject) -> None:
    answers = subject.answers
    if not np.isfinite(answers).all():
        raise Broken("numbers that are not finite")
    if answers.min() < 0 or answers.max() > 1:
        raise Broken(f"numbers from {answers.min():.3g} to {answers.max():.3g}")
    if (apart := np.abs(answers.sum(axis=1) - 1).max()) > SUM_SLACK:
        raise Broken(f"a sum that misses 1 by {apart:.2g}")


def _says_the_same_twice(subject: TargetSubject) -> None:
    again = subject.artifact().answers(subject.trained().valid)
    if not np.array_equal(again, subject.answers):
        raise Broken("other answers the second time")


def _sees_each_picture_alone(subject: TargetSubject) -> None:
    artifact, pictures, slack = subject.artifact(), subject.trained().valid, _slack(subject)
    every = len(pictures) // 4  # one of each colour
    alone = np.concatenate([artifact.answers([path]) for path in pictures[::every]])
    apart = float(np.abs(alone - subject.answers[::every]).max())
    if not apart <= slack:
        raise Broken(f"answers that differ by {apart:.2g} between one picture and {len(pictures)}")


def _slack(subject: TargetSubject) -> float:
    """Return by how much two answers of the same artifact may differ: quantised ones may step."""
    return 0.05 if subject.target.judged_by == "metric" else subject.target.max_difference


def _agrees(task: Task, subject: TargetSubject) -> None:
    exported = subject.exported(task)
    if exported.refused and task != "single-label":
        raise NotChecked(f"it refuses {task} models: {exported.problem}")
    if exported.problem and task != "single-label":
        raise Broken(exported.problem)
    model = subject.trained(task)
    found = subject.judge(model, model.network(subject.plugins))(subject.artifact(task))
    if found.problems:
        raise Broken("; ".join(found.problems).replace(str(model.valid[0].parent), "PICTURES"))


_rule = partial(Rule, kind="target")
_ARTIFACT, _TARGET = "finetune.types.Artifact", "finetune.types.ExportTarget"

RULES = (
    _rule(
        name="answers",
        expects="answers float32 (N, K) for N picture files and K labels, one picture or many",
        read=_ARTIFACT,
        hold=_answers,
    ),
    _rule(
        name="gives-probabilities",
        expects="probabilities from 0 to 1 which, of single labels, add up to 1",
        read=_ARTIFACT,
        hold=_gives_probabilities,
    ),
    _rule(
        name="says-the-same-twice",
        expects="the same answers for the same pictures",
        read=_ARTIFACT,
        hold=_says_the_same_twice,
    ),
    _rule(
        name="sees-each-picture-alone",
        expects="answers for a picture that do not depend on the others that are asked for with it",
        read=_ARTIFACT,
        hold=_sees_each_picture_alone,
    ),
    *(
        _rule(
            name=f"agrees-on-{task}",
            expects="answers that agree with the trained network's, as the target's own facts say",
            read=_TARGET,
            hold=partial(_agrees, task),
        )
        for task in ("single-label", "multi-label", "regression")
    ),
)
"""What an artifact's answers are held against."""
