"""How far confidence can be trusted: temperatures, what is left of the error, and thresholds to decide by.

Shapes: ``N`` pictures, ``K`` labels. Logits are float32 or float64 (N, K), answers probabilities float32 (N, K),
targets those of ``finetune.data.targets``. What is fitted here belongs on validation pictures, and scores on the same
pictures are the better for it: only others say what it is worth.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import log_expit, log_softmax

from finetune.evaluation.decisions import Answers, Targets
from finetune.types import Task
from finetune_export.contract import DEFAULT_THRESHOLD

Logits = NDArray[np.float32] | NDArray[np.float64]

TEMPERATURES = (0.05, 20.0)
"""The lowest and the highest temperature that is fitted.

Dividing by a small one magnifies what two runtimes differ by: 1e-5 in a logit, usual for float32, moves a probability
by at most 1e-5 / 0.05 / 2 = 1e-4, which is what an export may differ by. Beyond the highest, hardly anything is left of
what the network tells apart, which is a fault to look into and none to calibrate.
"""

BINS = 15
"""How many bins of confidence an expected calibration error has (Guo et al. 2017)."""

MARGIN = 1e-4
"""How far a threshold keeps from every probability that it was chosen on: what an export may differ by."""

RESAMPLES = 50
"""Bootstrap resamples that thresholds are chosen on."""
FEWEST_PICTURES = 10
"""How many pictures with a label, and without it, are needed to choose its threshold by."""


# ── temperature ─────────────────────────────────────────────────────────────────────────────────────


def fit_temperature(task: Task, logits: Logits, targets: Targets) -> float:
    """Return what to divide logits by before softmax or sigmoid, for the lowest ``log_loss_with_doubt``.

    Within ``TEMPERATURES``, and 1 where no other is better; it never changes which label is the most probable (Guo et
    al. 2017). Several labels share one temperature. Raises ``ValueError`` for no pictures, for logits that are not
    finite and for regression, which has no confidence to fit.
    """
    if not len(targets) or not np.isfinite(logits).all():
        raise ValueError("a temperature needs pictures, and logits that are finite")

    def loss(log_temperature: float) -> float:
        return log_loss_with_doubt(task, logits / np.exp(log_temperature), targets)

    found = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded")
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0


def log_loss_with_doubt(task: Task, logits: Logits, targets: Targets) -> float:
    """Return the mean log loss against targets that leave one mistake in N + 2 possible (Platt 1999).

    Against certain targets, logits that happen to be all right would ask for infinite confidence. For several labels
    it is the mean over labels, too. Raises ``ValueError`` for regression.
    """
    if task == "regression":
        raise ValueError("regression has no probabilities, and so no log loss")
    pictures, labels = logits.shape
    doubt = 1 / (pictures + 2)
    wide = logits.astype(np.float64)
    if task == "multi-label":
        wanted = np.where(targets > 0, 1 - doubt, doubt)
        return float(-(wanted * log_expit(wide) + (1 - wanted) * log_expit(-wide)).mean())
    wanted = np.full(logits.shape, doubt / (labels - 1))
    wanted[np.arange(pictures), targets] = 1 - doubt
    return float(-(wanted * log_softmax(wide, axis=1)).sum(axis=1).mean())


# ── what is left of the error ───────────────────────────────────────────────────────────────────────


def expected_calibration_error(task: Task, answers: Answers, targets: Targets, bins: int = BINS) -> float:
    """Return how far confidence is from the share that is right (0..1): the mean over bins, weighted by their size.

    The bins are equally wide. A single label's confidence is the probability of the most probable one (Guo et al.
    2017); of several labels, each one's probability is held against whether the picture shows it, over all labels of
    all pictures. Raises ``ValueError`` for no pictures.
    """
    if not len(targets):
        raise ValueError("the calibration error of no pictures is undefined")
    return float(np.abs(calibration_gaps(task, answers, targets, bins).mean(axis=0)).sum())


def calibration_gaps(task: Task, answers: Answers, targets: Targets, bins: int = BINS) -> NDArray[np.float64]:
    """Return what each picture adds to the gap of each bin, confidence less being right: float64 (N, bins).

    The sum of the absolute values of its mean over pictures is the expected calibration error.
    """
    confidence, right = answers.astype(np.float64), targets
    if task == "single-label":
        confidence, right = confidence.max(axis=1, keepdims=True), (answers.argmax(axis=1) == targets)[:, None]
    pictures, decisions = confidence.shape
    bin_of = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)  # an upper edge belongs to its bin
    cell = bin_of + bins * np.arange(pictures)[:, None]
    gaps = np.bincount(cell.ravel(), weights=(confidence - right).ravel(), minlength=pictures * bins)
    return np.asarray(gaps.reshape(pictures, bins) / decisions)


# ── thresholds ──────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class AbstainPoint:
    """Where a model begins to answer: at a ``threshold`` (0..1) that its highest probability has to reach.

    ``precision`` is the share (0..1) of the answers given that were right, ``coverage`` the share of pictures that
    were given one.
    """

    threshold: float
    precision: float
    coverage: float


def choose_thresholds(answers: Answers, targets: Targets, seed: int) -> tuple[float, ...]:
    """Return for each of several labels the threshold from which it is given: K of them, 0..1.

    The mean, over ``RESAMPLES`` bootstrap resamples of the pictures, of the threshold with the highest F1. That with
    the highest F1 on the pictures themselves follows their chance: in simulations of 48 to 400 pictures the mean was
    nearer to the best possible F1 on other pictures in every case, and never behind the default by more than 0.005.
    It is moved to the nearest place between two probabilities more than two ``MARGIN`` apart, so that another runtime
    decides alike. A label keeps ``DEFAULT_THRESHOLD`` where fewer than ``FEWEST_PICTURES`` show it or do not, and where
    there is no such place.
    """
    chance = np.random.default_rng(seed)
    counts = chance.multinomial(len(targets), np.full(len(targets), 1 / len(targets)), RESAMPLES)  # (R, N)
    pairs = zip(answers.T, targets.T, strict=True)
    return tuple(_threshold(column, shown > 0, counts) for column, shown in pairs)


def abstain_threshold(answers: Answers, targets: NDArray[np.int64], precision: float) -> AbstainPoint | None:
    """Return the lowest threshold on the highest probability at which the share of right answers reaches ``precision``.

    0, under which nothing is held back, where all answers together reach it; else midway between neighbours as for
    ``choose_thresholds``. None where no threshold reaches it. Few pictures above a threshold say little about it: mind
    the ``coverage``. Raises ``ValueError`` for no pictures.
    """
    if not len(targets):
        raise ValueError("a threshold needs pictures to be chosen by")
    order, thresholds, accepted = _cuts(answers.max(axis=1))
    thresholds, accepted = np.append(thresholds, 0.0), np.append(accepted, len(order))
    right = np.cumsum((answers.argmax(axis=1) == targets)[order])
    reached = right[accepted - 1] / accepted
    enough = np.flatnonzero(reached >= precision)
    if not len(enough):
        return None
    lowest = enough[-1]
    return AbstainPoint(
        threshold=float(thresholds[lowest]),
        precision=float(reached[lowest]),
        coverage=float(accepted[lowest] / len(order)),
    )


def _threshold(probabilities: NDArray[np.float32], shown: NDArray[np.bool_], counts: NDArray[np.int64]) -> float:
    order, thresholds, given = _cuts(probabilities)
    if min(shown.sum(), (~shown).sum()) < FEWEST_PICTURES or not len(thresholds):
        return DEFAULT_THRESHOLD
    drawn = counts[:, order]
    right = np.cumsum(drawn * shown[order], axis=1)  # (R, N): shown among the most probable 1, 2, …
    f1 = 2 * right[:, given - 1] / (np.cumsum(drawn, axis=1)[:, given - 1] + right[:, -1:])
    chosen = float(np.mean([_nearest_to_default(thresholds[each == each.max()]) for each in f1]))
    return float(thresholds[np.abs(thresholds - chosen).argmin()])


def _nearest_to_default(thresholds: NDArray[np.float64]) -> float:
    return float(thresholds[np.abs(thresholds - DEFAULT_THRESHOLD).argmin()])


def _cuts(probabilities: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.float64], NDArray[np.int64]]:
    """Return the pictures' order downwards, the thresholds that lie safely between two, and how many reach each."""
    order = np.argsort(-probabilities, kind="stable")
    falling = probabilities[order].astype(np.float64)
    reaching = np.flatnonzero(falling[:-1] - falling[1:] > 2 * MARGIN) + 1
    return order, (falling[reaching - 1] + falling[reaching]) / 2, reaching
