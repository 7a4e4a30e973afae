"""What the compared runs came to: which is best, whether chance would do that, and every metric side by side."""

from __future__ import annotations

import math
from collections.abc import Iterator

from finetune.evaluation.paired import least_visible
from finetune.report.comparison.comparing import Against, ComparedRun, Comparison, Paired
from finetune.report.wording import UNDEFINED, value_of
from finetune.types import Block, Paragraph, Table

_LEAST_P = 1e-4
_SMALLER = "differences below about"
ONE_NETWORK_EACH = (
    "What is tested are these networks on pictures like these, not the settings behind them: trained with another "
    "seed, each would be another network (Dietterich 1998). Epoch, temperature and thresholds were chosen on the "
    "validation pictures, which flatters every run a little."
)


def glance(found: Comparison) -> Iterator[Block]:
    """Show what the runs are, the headline metric of each with its interval, and which is best."""
    is_tested = any(run.records.result.test_scores for run in found.runs)
    header = ("run", "folder", f"validation {found.metric}", "95 % interval", "pictures")
    rows = tuple(_scored(found, run) + (_tested(found, run) if is_tested else ()) for run in found.runs)
    yield Table(header + ((f"test {found.metric}", "95 % interval of it") if is_tested else ()), rows, "The runs")
    yield Paragraph(best(found))
    yield from (Paragraph(verdict(found, against)) for against in found.against)
    if any(against.paired for against in found.against):
        yield Paragraph(ONE_NETWORK_EACH)
    made = tuple((run.letter, *_made_of(run)) for run in found.runs)
    yield Table(("run", "data", "network", "weights", "strategy"), made, "What was trained")


def _scored(found: Comparison, run: ComparedRun) -> tuple[str, ...]:
    result = run.records.result
    return (run.letter, run.name, said(found, result.value), between(found, result.interval), f"{result.valid_images}")


def _made_of(run: ComparedRun) -> tuple[str, ...]:
    result = run.records.result
    return (result.dataset, result.backbone, result.weights, result.strategy)


def _tested(found: Comparison, run: ComparedRun) -> tuple[str, str]:
    result = run.records.result
    return said(found, result.test_scores.get(found.metric)), between(found, result.test_interval)


def said(found: Comparison, value: float | None) -> str:
    """Return a value of the headline metric as people read it, a dash where it is undefined."""
    return value_of(found.first.records, found.metric, value)


def headline(found: Comparison, run: ComparedRun) -> str:
    """Return a run's headline metric on its validation pictures, with its interval where there is one."""
    interval = run.records.result.interval
    bounds = f" (95 % interval: {between(found, interval)})" if interval else ""
    return f"validation {found.metric} {said(found, run.value)}{bounds}"


def between(found: Comparison, interval: tuple[float, float] | None) -> str:
    """Return an interval of the headline metric as people read it."""
    return " to ".join(said(found, bound) for bound in interval) if interval else UNDEFINED


def best(found: Comparison) -> str:
    """Say which run has the best headline metric, and what may be wrong with saying so."""
    top = max((run.value for run in found.runs if not math.isnan(run.value)), default=None)
    if top is None:
        return f"The {found.metric} on the validation pictures is undefined for every run."
    letters = [run.letter for run in found.runs if run.value == top]
    value = f"{found.metric} on the validation pictures, {said(found, top)}"
    if len(letters) > 1:
        is_best = f"The runs {' and '.join(letters)} share the best {value}."
    else:
        is_best = f"Run {letters[0]} has the best {value}."
    if all(against.matched.whole for against in found.against):
        return is_best
    return f"{is_best} The runs were not all validated on the same pictures, and some pictures are easier than others."


def verdict(found: Comparison, against: Against) -> str:
    """Say how a run does against the first on the pictures they share, and whether chance alone would do that."""
    run, first = f"run {against.run.letter}", f"run {found.first.letter}"
    if against.paired is None:
        return (
            f"Run {against.run.letter} and {first} have no validation picture in common, so that no test can tell them "
            "apart: their intervals are all there is."
        )
    how_much = _by_how_much(found, against.paired, first)
    told = _told(found, against.paired, len(against.matched))
    return f"On {_which(against)}, {run} {how_much}; {_test(found, against.paired)} {told}"


def _which(against: Against) -> str:
    found = against.matched
    if found.whole:
        return f"the same {len(found):,} validation pictures"
    counts = f"{len(found.first.paths):,} and {len(found.other.paths):,}"
    otherwise = f", {found.labelled_otherwise:,} more are labelled otherwise" if found.labelled_otherwise else ""
    return f"the {len(found):,} validation pictures that both have (of {counts}{otherwise})"


def _by_how_much(found: Comparison, paired: Paired, first: str) -> str:
    value, interval = paired.difference
    if math.isnan(value):
        return f"cannot be held against {first} by {found.metric}, which is undefined"
    bounds = f" (95 % interval {_points(found, interval[0])} to {_points(found, interval[1])})" if interval else ""
    if value == 0:
        return f"has the same {found.metric} as {first}{bounds}"
    more = "more" if value > 0 else "less"
    return f"has {points(found, abs(value))} {more} {found.metric} than {first}{bounds}"


def _points(found: Comparison, value: float) -> str:
    return f"{100 * value:+.1f}" if found.is_share else f"{value:+.4g}"


def points(found: Comparison, value: float) -> str:
    """Return a difference of the headline metric: of shares in points, which are hundredths."""
    return f"{100 * value:.1f} points" if found.is_share else f"{value:.4g}"


def _test(found: Comparison, paired: Paired) -> str:
    name = "the exact McNemar test" if paired.counts else "Wilcoxon's signed-rank test on the losses of the pictures"
    several = _tests(found)
    corrected = f", corrected for {several} tests p {_is(paired.corrected)}" if several > 1 else ""
    return f"by {name} p {_is(paired.p_value)}{corrected}."


def _tests(found: Comparison) -> int:
    return sum(each.paired is not None for each in found.against)


def _is(p_value: float) -> str:
    return p_text(p_value) if p_value < _LEAST_P else f"= {p_text(p_value)}"


def p_text(p_value: float) -> str:
    """Return a p-value as people read it."""
    return f"< {_LEAST_P:f}".rstrip("0") if p_value < _LEAST_P else f"{p_value:.2g}"


def _told(found: Comparison, paired: Paired, pictures: int) -> str:
    if not paired.is_more_than_chance:
        is_none = paired.difference.value == 0 or math.isnan(paired.difference.value)
        chance = "" if is_none else "That is no more than chance would do. "
        return f"{chance}{_visible(found, paired, pictures)}"
    interval = paired.difference.interval
    if paired.counts is None and (interval is None or interval[0] <= 0 <= interval[1]):
        return (
            f"Their answers differ by more than chance, though the {found.metric} alone does not say which is better."
        )
    return "That is more than chance would do."


def _visible(found: Comparison, paired: Paired, pictures: int) -> str:
    """Say how large a difference had to be to be seen on so many pictures."""
    having = f"With {pictures:,} pictures"
    unseen = "cannot be seen" + (", before correction for several runs" if _tests(found) > 1 else "")
    if paired.counts:
        least = least_visible(paired.counts)
        if least is None:
            return f"{having}, no difference could be seen at all: at least six are needed."
        below = points(found, least / pictures)
        return f"{having}, {paired.counts.discordant} of which one run alone has right, {_SMALLER} {below} {unseen}."
    if paired.difference.interval is None:
        return f"{having}, nothing can be said of how large a difference had to be."
    low, high = paired.difference.interval
    return f"{having}, {_SMALLER} {points(found, (high - low) / 2)} {unseen}."


def on_shared_pictures(found: Comparison) -> Iterator[Block]:
    """Show the paired tests, each run against the first, with what they are made of."""
    tested = [(each.run.letter, len(each.matched), each.paired) for each in found.against if each.paired]
    if not tested:
        return
    first, is_counted = found.first.letter, found.first.records.task == "single-label"
    p_values = ("p", "p, corrected") if len(tested) > 1 else ("p",)
    values = (f"{found.metric} of {first}", f"{found.metric} of the run")
    header = ("run", "pictures", "difference", "95 % interval", *p_values, *values)
    rows = tuple(_paired_row(found, *each, is_one_of_several=len(tested) > 1) for each in tested)
    yield Table(header, rows, f"Each run against run {first}, on the pictures that both have")
    if is_counted:
        counts = tuple((letter, *map(str, paired.counts or ())) for letter, _, paired in tested)
        columns = ("run", "both right", f"only {first} right", "only the run right", "both wrong")
        yield Table(columns, counts, f"Pictures by who is right, the run or run {first}")
    yield Paragraph(_method(found, is_counted))


def _paired_row(
    found: Comparison, letter: str, pictures: int, paired: Paired, is_one_of_several: bool
) -> tuple[str, ...]:
    interval = paired.difference.interval
    bounds = " to ".join(_points(found, bound) for bound in interval) if interval else UNDEFINED
    value = paired.difference.value
    difference = (UNDEFINED if math.isnan(value) else _points(found, value), bounds)
    values = (said(found, value) for value in (paired.first_value, paired.value))
    corrected = (p_text(paired.corrected),) if is_one_of_several else ()
    return (letter, f"{pictures}", *difference, p_text(paired.p_value), *corrected, *values)


def _method(found: Comparison, is_counted: bool) -> str:
    unit = "Differences are in points, hundredths of the metric. " if found.is_share else ""
    corrected = "p-values are corrected for being several by Holm 1979." if len(found.against) > 1 else ""
    if is_counted:
        how = (
            "The test is McNemar's of 1947, exact; the interval is the adjusted Wald interval for pairs (Bonett and "
            "Price 2012). "
        )
    else:
        how = (
            "The test is Wilcoxon's signed-rank test on the losses of the pictures (Pratt 1959 for equal ones); the "
            "interval is the percentile bootstrap over pictures, the same resamples for both runs. "
        )
    return f"Pictures are matched by their content. {unit}{how}{corrected}".rstrip()


def scores(found: Comparison) -> Iterator[Block]:
    """Show every metric of every run."""
    for part, name in (("valid", "validation"), ("test", "test")):
        values = [(run.records.metrics[part] or {"values": {}})["values"] for run in found.runs]
        metrics = dict.fromkeys(metric for each in values for metric in each)
        rows = tuple(
            (metric, *(value_of(found.first.records, metric, each.get(metric)) for each in values))
            for metric in metrics
        )
        if rows:
            yield Table(("metric", *letters(found)), rows, f"Every metric, {name} pictures of each run")


def letters(found: Comparison) -> tuple[str, ...]:
    """Return what columns are headed by: one for each run."""
    return tuple(f"run {run.letter}" for run in found.runs)
