"""Charts as they are drawn: nothing empty, nothing on top of anything else, on light and on dark paper."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image

from finetune.charts import DARK, LIGHT, Drawing, Rung, fit, learning_curve, rate_curve, reliability_diagram, standings
from finetune.evaluation.reliability import Reliability
from finetune.types.results import RateCurve

NAN = math.nan


def epochs(scores: Sequence[float], losses: float = 0.5, phase: str = "frozen") -> list[Any]:
    return [SimpleNamespace(phase=phase, train_loss=losses, valid_loss=2 * losses, score=score) for score in scores]


def drawn(drawing: Drawing) -> Figure:
    """Return a chart with all its parts in their places."""
    figure = drawing.draw(LIGHT)
    figure.canvas.draw()
    return figure


def bins(counts: Sequence[int], right: Sequence[float]) -> Reliability:
    confidence = (np.arange(len(counts)) + 0.5) / len(counts)
    there = np.array(counts) > 0
    return Reliability(
        counts=np.array(counts),
        confidence=np.where(there, confidence, np.nan),
        right=np.where(there, np.array(right), np.nan),
    )


FOUND = RateCurve(rates=(1e-4, 1e-3, 1e-2, 1e-1), losses=(1.0, 0.5, 0.4, NAN), suggestion=1e-3)
RUNGS = [Rung("the model", 0.93, (0.9, 0.95), is_model=True), Rung("without looking", 0.5)]
CHARTS = {
    "standings": standings(RUNGS, "accuracy", is_share=True),
    "learning curve": learning_curve(epochs([0.5, 0.75]), "accuracy", True, kept=1),
    "rate curve": rate_curve(FOUND, 0.01),
    "reliability": reliability_diagram(bins([1, 0, 9], [0, 0, 1]), bins([0, 5, 5], [0, 0.5, 1])),
    "fit": fit(np.arange(9.0), np.arange(9.0) + 1),
}


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_is_sharp_and_has_the_paper_of_its_page(name: str) -> None:
    chart = CHARTS[name]

    for png, theme in ((chart.light, LIGHT), (chart.dark, DARK)):
        with Image.open(io.BytesIO(png)) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        paper = [int(theme.paper[at : at + 2], 16) for at in (1, 3, 5)]
        assert picture.width == 1100
        assert [pixels[y, x].tolist() for y, x in ((0, 0), (0, -1), (-1, 0), (-1, -1))] == [paper] * 4
        assert 0.005 < (pixels != paper).any(axis=2).mean() < 0.5


@pytest.mark.parametrize("name", CHARTS)
def test_a_dark_chart_is_the_same_whether_it_lays_itself_out_or_as_the_light_one_was(name: str) -> None:
    alone, after = Drawing(CHARTS[name].draw), Drawing(CHARTS[name].draw)

    assert after.light != alone.dark
    assert after.dark == alone.dark


# ── learning curves ─────────────────────────────────────────────────────────────────────────────────


phases = st.lists(st.tuples(st.text("abc xyz$_^", max_size=60), st.integers(1, 9)), min_size=1, max_size=7)


@given(phases=phases)
@settings(max_examples=12, deadline=None)
def test_the_names_of_phases_are_in_the_picture_and_never_on_each_other(phases: list[tuple[str, int]]) -> None:
    history = [epoch for name, length in phases for epoch in epochs([0.5] * length, phase=name)]

    figure = drawn(learning_curve(history, "accuracy", True))

    boxes = [text.get_window_extent() for text in figure.axes[0].texts if text.get_text().strip()]
    edge = figure.bbox
    assert all(edge.x0 <= box.x0 and box.x1 <= edge.x1 and box.y1 <= edge.y1 for box in boxes)
    shrunk = [box.expanded(0.99, 0.8) for box in boxes]
    assert [pair for pair in combinations(shrunk, 2) if pair[0].overlaps(pair[1])] == []
    assert all(box.y0 >= figure.axes[0].get_window_extent().y1 for box in boxes)


def test_phases_are_named_and_divided_where_they_change() -> None:
    history = [*epochs([0.5] * 20, phase="frozen"), *epochs([0.6], phase="last 2 stages"), *epochs([0.7], phase="all")]

    axes = drawn(learning_curve(history, "accuracy", True)).axes[0]

    assert [text.get_text() for text in axes.texts if text.get_text()] == ["frozen", "last 2 stages", "all"]
    divided = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]
    assert divided == [20.5, 21.5]


def test_one_epoch_is_one_point_at_one() -> None:
    losses, scores = drawn(learning_curve(epochs([0.5]), "accuracy", True, kept=0)).axes

    assert [tick for tick in scores.get_xticks() if 0.5 <= tick <= 1.5] == [1]
    assert [line.get_marker() for line in losses.lines] == ["o", "s"]
    assert [text.get_text() for text in scores.get_legend().get_texts()] == ["validation accuracy", "kept"]
    assert all("%" in label.get_text() for label in scores.get_yticklabels())


@pytest.mark.parametrize(
    ("history", "labels"),
    [
        (epochs([NAN, NAN]), ["loss"]),
        (epochs([0.1, NAN], NAN), ["score"]),
        (epochs([NAN, 3.0], 1.0), ["loss", "score"]),
    ],
)
def test_what_was_never_a_number_has_no_panel(history: list[Any], labels: list[str]) -> None:
    assert [axes.get_ylabel() for axes in drawn(learning_curve(history, "rmse")).axes] == labels


@pytest.mark.parametrize("history", [[], epochs([NAN], NAN), epochs([math.inf], math.inf)])
def test_where_there_is_nothing_to_draw_nothing_is_drawn(history: list[Any]) -> None:
    with pytest.raises(ValueError, match="a chart needs epochs whose numbers are finite"):
        learning_curve(history, "accuracy")


def test_a_loss_that_exploded_does_not_take_the_others_along() -> None:
    history = [*epochs([0.5, 0.6]), *epochs([0.6], math.inf)]

    losses = drawn(learning_curve(history, "accuracy", True)).axes[0]

    assert 1 < losses.get_ylim()[1] < 2


@pytest.mark.parametrize(("first", "from_zero"), [(9.0, True), (0.7, False)])
def test_losses_begin_at_zero_where_that_leaves_room_for_them(first: float, from_zero: bool) -> None:
    history = [*epochs([0.5], first), *epochs([0.5], 0.6)]

    lowest = float(drawn(learning_curve(history, "accuracy", True)).axes[0].get_ylim()[0])

    assert (lowest == 0) is from_zero


def test_the_epoch_that_was_kept_has_a_ring() -> None:
    scores = drawn(learning_curve(epochs([0.5, 0.9, 0.7]), "accuracy", True, kept=1)).axes[1]

    (ring,) = [line for line in scores.lines if line.get_label() == "kept"]
    assert (list(ring.get_xdata()), list(ring.get_ydata())) == ([2], [0.9])


def test_a_hundred_epochs_are_a_line_without_markers() -> None:
    losses, scores = drawn(learning_curve(epochs([0.5] * 100), "accuracy", True)).axes

    assert {line.get_marker() for line in (*losses.lines, *scores.lines)} == {"None"}


def test_a_name_is_no_formula_and_takes_no_room_from_the_curve() -> None:
    name = "a$\\frac{" + "very " * 20

    scores = drawn(learning_curve(epochs([0.5]), name)).axes[1]

    (label,) = [text.get_text() for text in scores.get_legend().get_texts()]
    assert label == f"validation {name}"[:39] + "…"


# ── learning rates ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("used", "labels"),
    [
        (None, ["suggested: 0.001"]),
        (1e-3, ["suggested: 0.001"]),
        (0.03, ["suggested: 0.001", "used: 0.03"]),
    ],
)
def test_a_rate_that_was_used_is_marked_where_it_is_not_the_suggested_one(
    used: float | None, labels: list[str]
) -> None:
    (axes,) = drawn(rate_curve(FOUND, used)).axes

    assert [text.get_text() for text in axes.get_legend().get_texts()] == labels
    assert axes.lines[1].get_ydata() == [0.5]
    assert used is None or axes.get_xlim()[0] < used < axes.get_xlim()[1]


def test_a_search_without_a_finite_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="a chart needs losses whose numbers are finite"):
        rate_curve(RateCurve(rates=(1e-3,), losses=(NAN,), suggestion=1e-3))


# ── confidence ──────────────────────────────────────────────────────────────────────────────────────


def test_bins_without_answers_have_no_point_and_all_have_their_count() -> None:
    top, bottom = drawn(reliability_diagram(bins([2, 0, 6], [0.5, 0, 1]))).axes

    assert top.collections[0].get_offsets().data.tolist() == pytest.approx(np.array([[1 / 6, 0.5], [5 / 6, 1]]))
    assert bottom.patches[0].get_data().values.tolist() == [2, 0, 6]
    assert [text.get_text() for text in top.get_legend().get_texts()] == ["as right as it is sure", "as answered"]


@pytest.mark.parametrize(("counts", "scale"), [([3, 4, 9], "linear"), ([90_000, 40, 30], "log")])
def test_where_one_bin_has_almost_all_answers_the_others_can_still_be_seen(counts: list[int], scale: str) -> None:
    assert drawn(reliability_diagram(bins(counts, [0, 0.5, 1]))).axes[1].get_yscale() == scale


def test_no_answers_are_refused() -> None:
    with pytest.raises(ValueError, match="a chart needs answers whose numbers are finite"):
        reliability_diagram(bins([0, 0], [0, 0]))


# ── values ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("true", "predicted"),
    [([3.0], [3.0]), ([0.0, 0.0], [0.0, 0.0]), ([1.0, NAN, 2.0], [1.0, 5.0, NAN]), ([-1e30, 1e30], [1e-30, 1e30])],
)
def test_both_axes_show_the_same_range_however_odd_the_values_are(true: list[float], predicted: list[float]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        left, right = drawn(fit(np.array(true), np.array(predicted))).axes

    assert left.get_xlim() == left.get_ylim()
    assert left.get_xlim()[0] < left.get_xlim()[1]
    assert sum(patch.get_height() for patch in right.patches) == np.isfinite(np.add(true, predicted)).sum()


@pytest.mark.parametrize("values", [[], [NAN]])
def test_no_values_are_refused(values: list[float]) -> None:
    with pytest.raises(ValueError, match="a chart needs values whose numbers are finite"):
        fit(np.array(values), np.array(values))
