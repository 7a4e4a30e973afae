"""What the model is held against: an answer that looks at no picture, and the phases that were not kept."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import numpy as np

from finetune.data.targets import example_of, targets_of
from finetune.evaluation.baselines import Baseline, baseline, constant_answer
from finetune.evaluation.decisions import Answers
from finetune.report.wording import difference_of, value_of
from finetune.types import Block, Figure, Paragraph, RunRecords, Table, Task

NOTHING = "without looking"
"""What the answer that looks at no picture is called in a drawing, which has no letters for every label."""
PROBES = ("frozen", "logreg", "svm")
"""The phases that leave the body as it is; those of ``finetune.training.strategies``, which this page does without."""


def constant_of(records: RunRecords) -> Baseline | None:
    """Return the answer that the training pictures alone suggest; None without pictures to learn from or to answer."""
    shown = tuple(row["label"] for row in records.split if row["part"] == "train")
    if not shown or not len(records.targets):
        return None
    return baseline(records.task, _learned(records.task, records.labels, shown), records.targets)


@lru_cache(maxsize=1)  # sections and card of a run all ask, and there may be a million rows to read
def _learned(task: Task, labels: tuple[str, ...], shown: tuple[str, ...]) -> Answers:
    """Return the constant answer, (K,), after pictures that show this, in the words of ``split.csv``."""
    examples = [example_of(Path(), text, task) for text in shown]
    return constant_answer(task, targets_of(examples, labels, task), len(labels))


def constant_named(records: RunRecords, found: Baseline) -> str:
    """Return what giving the constant answer is called, as the subject of a sentence."""
    if records.task == "single-label":
        return f"always saying '{records.labels[int(np.argmax(found.answers[0]))]}'"
    if records.task == "multi-label":
        return "always answering how often each label is in the training pictures"
    return "always answering the mean of the training pictures"


def compared(records: RunRecords, found: Baseline | None) -> Iterator[Block]:
    """Show by how much the model that was kept is better than what else there was."""
    rows = tuple(_rows(records, found))
    reached = {(metric, here) for _, metric, _, here, _ in rows}
    if len(reached) > 1:
        header = ("against", "metric", "it reaches", "the model", "better by")
        yield Table(header, rows, "What the model is held against", sortable=False)
    elif rows:
        metric, here = reached.pop()
        caption = f"What the model is held against, by {metric}; the model reaches {here}"
        short = tuple((what, reaches, better) for what, _, reaches, _, better in rows)
        yield Table(("against", "it reaches", "better by"), short, caption, sortable=False)
    low = (records.result.interval or (math.nan,))[0]
    if found and low <= found.value:
        yield Paragraph(
            f"The interval of the model begins at {value_of(records, found.metric, low)}: these pictures do not "
            f"show that it is any better than {constant_named(records, found)}."
        )


def standing(records: RunRecords, found: Baseline | None) -> Iterator[Block]:
    """Draw the model's score with its interval above what else there was; nothing where there is nothing else."""
    from finetune.charts import Rung, standings

    result = records.result
    rungs = [Rung("the model", result.value, result.interval, is_model=True)]
    if result.metric in result.test_scores:
        value = result.test_scores[result.metric]
        rungs.append(Rung("the model, on test pictures", value, result.test_interval, is_model=True))
    if result.monitor == result.metric:
        rungs += [Rung(f"phase '{name}'", value) for name, value in result.phases.items() if name != result.kept]
    if found and found.metric == result.metric:
        rungs.append(Rung(NOTHING, found.value))
    rungs = [rung for rung in rungs if math.isfinite(rung.value)]
    if len(rungs) > 1 and rungs[0].is_model:
        drawn = standings(rungs, result.metric, result.metric in records.shares)
        alt = f"The {result.metric} of the model with its 95 % interval, and of what it is held against. "
        alt += "The tables say the same."
        yield Figure(drawn.light, alt, drawn.dark)


def _rows(records: RunRecords, found: Baseline | None) -> Iterator[tuple[str, ...]]:
    result = records.result
    kept = result.phases.get(result.kept, math.nan)
    for name, value in result.phases.items():
        if name != result.kept:  # which is the best of them, whether its metric is to be high or low
            what = f"the probe, phase '{name}'" if name in PROBES else f"phase '{name}'"
            yield (what, *_pair(records, result.monitor, value, kept, abs(kept - value)))
    if found:
        difference = result.value - found.value
        yield (constant_named(records, found), *_pair(records, found.metric, found.value, result.value, difference))


def _pair(records: RunRecords, metric: str, there: float, here: float, difference: float) -> tuple[str, ...]:
    values = (value_of(records, metric, value) for value in (there, here))
    return (metric, *values, difference_of(records, metric, difference))
