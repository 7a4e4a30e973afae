from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.covariance import LedoitWolf
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from finetune.evaluation.transferability import PROBE_C, cross_validated_accuracy, h_score, log_me

Matrix = NDArray[np.float64]
Targets = NDArray[np.int64]
Score = Callable[[Matrix, Targets], float]
SCORES = pytest.mark.parametrize("score", [log_me, h_score])


def clusters(
    apart: float, *, classes: int = 3, each: int = 20, width: int = 10, seed: int = 0
) -> tuple[Matrix, Targets]:
    generator = np.random.default_rng(seed)
    centres = generator.normal(size=(classes, width))
    targets = np.repeat(np.arange(classes), each).astype(np.int64)
    return apart * centres[targets] + generator.normal(size=(len(targets), width)) + 0.3, targets


def accuracy_of(features: Matrix, targets: Targets) -> float:
    return cross_validated_accuracy(features, targets, seed=0).accuracy


# ── what every score has ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("score", [log_me, h_score, accuracy_of])
def test_a_score_rises_as_the_classes_move_apart(score: Score) -> None:
    scores = [score(*clusters(apart)) for apart in (0, 0.4, 0.8, 1.6)]
    assert scores == sorted(scores)
    assert scores[-1] > scores[0] + 0.3


@pytest.mark.parametrize("score", [log_me, h_score, accuracy_of])
def test_a_score_finds_more_in_labels_than_in_shuffled_ones(score: Score) -> None:
    features, targets = clusters(1, width=80)
    shuffled = np.random.default_rng(3).permutation(targets)
    assert score(features, targets) > score(features, shuffled) + 0.2


@SCORES
def test_renaming_the_classes_changes_nothing(score: Score) -> None:
    features, targets = clusters(0.7)
    assert score(features, np.array([7, 2, 4])[targets]) == pytest.approx(score(features, targets), rel=1e-9)


@SCORES
def test_the_order_of_the_pictures_changes_nothing(score: Score) -> None:
    features, targets = clusters(0.7)
    order = np.random.default_rng(5).permutation(len(targets))
    assert score(features[order], targets[order]) == pytest.approx(score(features, targets), rel=1e-6)


@SCORES
@pytest.mark.parametrize("width", [10, 200])
def test_turning_and_scaling_the_features_changes_nothing(score: Score, width: int) -> None:
    features, targets = clusters(0.7, width=width)
    turn, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(width, width)))
    assert score(50 * features @ turn, targets) == pytest.approx(score(features, targets), rel=1e-5)


@SCORES
def test_features_of_half_precision_in_storage_score_as_in_double(score: Score) -> None:
    features, targets = clusters(0.7)
    single = features.astype(np.float32)
    assert score(single, targets) == score(single.astype(np.float64), targets)  # type: ignore[arg-type]


@pytest.mark.parametrize("score", [log_me, h_score, accuracy_of])
def test_what_is_no_set_of_features_is_refused(score: Score) -> None:
    features, targets = clusters(1)
    with pytest.raises(ValueError, match=r"features \(60, 10\) and targets \(59,\) do not fit"):
        score(features, targets[1:])
    with pytest.raises(ValueError, match="two classes"):
        score(features, np.zeros_like(targets))
    with pytest.raises(ValueError, match="not finite"):
        score(np.full_like(features, np.inf), targets)


# ── LogME ───────────────────────────────────────────────────────────────────────────────────────────


def dense_evidence(features: Matrix, label: Matrix) -> float:
    """Return max log N(label | 0, F Fᵀ / α + I / β) / N by searching α and β, with no use of the fixed point."""
    gram = features @ features.T

    def negative(logs: Matrix) -> float:
        covariance = gram / np.exp(logs[0]) + np.eye(len(label)) / np.exp(logs[1])
        _, log_determinant = np.linalg.slogdet(covariance)
        spread = label @ np.linalg.solve(covariance, label)
        return float(0.5 * (log_determinant + spread + len(label) * np.log(2 * np.pi)))

    starts = [np.array([a, b]) for a in (0.0, 4.0) for b in (1.0, 4.0)]
    options = {"xatol": 1e-6, "fatol": 1e-9, "maxiter": 2000}
    searches = [minimize(negative, x, method="Nelder-Mead", bounds=[(-15, 15)] * 2, options=options) for x in starts]
    return float(-min(search.fun for search in searches) / len(label))


@pytest.mark.parametrize(("apart", "width"), [(0.3, 5), (1.0, 5), (1.0, 25), (1.0, 70), (0.5, 70)])
def test_log_me_is_the_highest_evidence_of_a_direct_search(apart: float, width: int) -> None:
    features, targets = clusters(apart, each=12, width=width)
    expected = np.mean([dense_evidence(features, (targets == k).astype(np.float64)) for k in range(3)])
    assert log_me(features, targets) == pytest.approx(expected, abs=1e-4)


def test_features_that_say_nothing_leave_the_evidence_of_noise_alone() -> None:
    targets = np.repeat([0, 1], 10).astype(np.int64)
    expected = -0.5 * np.log(2 * np.pi * np.e * 0.5)  # a Gaussian of the labels' mean square, 1/2
    assert log_me(np.zeros((20, 4)), targets) == pytest.approx(expected)


def test_repeated_features_do_not_upset_log_me() -> None:
    features, targets = clusters(1)
    assert log_me(np.hstack([features, features]), targets) == pytest.approx(log_me(features, targets), abs=1e-3)


# ── H-score ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("width", [6, 90])
def test_the_h_score_is_the_trace_of_its_definition(width: int) -> None:
    features, targets = clusters(0.7, width=width)
    shrunk = LedoitWolf().fit(features)
    centred = features - features.mean(axis=0)
    means = np.stack([centred[targets == k].mean(axis=0) for k in targets])  # every picture's class mean (N, D)
    between = means.T @ means / len(means)
    expected = (1 - shrunk.shrinkage_) * np.trace(np.linalg.inv(shrunk.covariance_) @ between)
    assert h_score(features, targets) == pytest.approx(expected, rel=1e-8)


def test_the_h_score_of_perfectly_separate_classes_approaches_their_number_less_one() -> None:
    features, targets = clusters(1000, classes=4, each=200, width=3)
    assert h_score(features, targets) == pytest.approx(3, abs=0.1)


def test_more_features_than_pictures_do_not_make_noise_look_separable() -> None:
    features, targets = clusters(0, width=300)
    assert h_score(features, targets) < 0.7  # the largest would be 2, and without shrinking it is


def test_features_that_never_vary_have_an_h_score_of_zero() -> None:
    assert h_score(np.ones((6, 3)), np.array([0, 0, 0, 1, 1, 1])) == 0


# ── cross-validation ────────────────────────────────────────────────────────────────────────────────


def test_the_cross_validated_accuracy_is_that_of_the_folds_one_by_one() -> None:
    features, targets = clusters(0.5, each=30)
    right = []
    for fitted, held in StratifiedKFold(5, shuffle=True, random_state=4).split(features, targets):
        mean, std = features[fitted].mean(axis=0), features[fitted].std(axis=0)
        probe = LogisticRegression(C=PROBE_C, max_iter=1000).fit((features[fitted] - mean) / std, targets[fitted])
        right.append((probe.predict((features[held] - mean) / std) == targets[held]).mean())
    found = cross_validated_accuracy(features, targets, seed=4)
    assert found.accuracy == pytest.approx(np.mean(right), abs=1e-4)
    assert found.standard_error == pytest.approx(np.std(right, ddof=1) / 5**0.5, abs=1e-4)
    assert found.standard_error > 0


def test_folds_are_as_many_as_the_smallest_class_has_pictures() -> None:
    features, targets = clusters(1)
    kept = np.concatenate([np.arange(40), [41, 42, 43]])
    assert cross_validated_accuracy(features, targets, seed=0).folds == 5
    assert cross_validated_accuracy(features[kept], targets[kept], seed=0).folds == 3


def test_the_seed_draws_the_folds() -> None:
    features, targets = clusters(0.4)
    assert cross_validated_accuracy(features, targets, seed=1) == cross_validated_accuracy(features, targets, seed=1)
    assert len({cross_validated_accuracy(features, targets, seed=seed).accuracy for seed in range(5)}) > 1


def test_a_class_with_one_picture_cannot_be_cross_validated() -> None:
    features, targets = clusters(1)
    with pytest.raises(ValueError, match="two pictures of every class"):
        cross_validated_accuracy(features[:41], targets[:41], seed=0)
