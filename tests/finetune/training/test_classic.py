from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from finetune.training import classic
from finetune.training.classic import (
    FOLDS,
    LOGREG_C,
    LOGREG_GRID,
    SVM_C,
    SVM_GRID,
    SVM_TEMPERATURE,
    LinearClassifier,
    fit_logreg,
    fit_svm,
)

Features = NDArray[np.float32]
Targets = NDArray[np.int64]
Fit = Callable[[Features, Targets, int, int], LinearClassifier]
BOTH = pytest.mark.parametrize("fit", [fit_logreg, fit_svm])


def clusters(
    *, classes: int = 3, each: int = 20, width: int = 12, apart: float = 1.5, seed: int = 0, centres: int = 99
) -> tuple[Features, Targets]:
    """Return pictures around ``classes`` centres; the same ``centres`` with another ``seed`` are fresh pictures."""
    middle = np.random.default_rng(centres).normal(size=(classes, width)) * apart
    targets = np.tile(np.arange(classes), each)
    features = middle[targets] + np.random.default_rng(seed).normal(size=(len(targets), width)) + 0.5
    return features.astype(np.float32), targets.astype(np.int64)


def scaled(features: Features) -> NDArray[np.float64]:
    centred = features - features.mean(axis=0, dtype=np.float64)
    variances = np.square(centred).mean(axis=0)
    return np.asarray(centred / np.sqrt(variances + 0.1 * variances.mean()))


def loss(probabilities: NDArray[np.float64] | Features, targets: Targets) -> float:
    return float(-np.log(probabilities[np.arange(len(targets)), targets]).mean())


def logits(model: LinearClassifier, features: Features) -> NDArray[np.float64]:
    answer: NDArray[np.float64] = features.astype(np.float64) @ model.weight.T.astype(np.float64) + model.bias
    return answer


# ── one linear layer ────────────────────────────────────────────────────────────────────────────────


@BOTH
@pytest.mark.parametrize("classes", [2, 5])
def test_the_classifier_is_a_linear_layer_with_a_temperature(fit: Fit, classes: int) -> None:
    features, targets = clusters(classes=classes)
    model = fit(features, targets, classes, 0)
    assert (model.weight.shape, model.weight.dtype) == ((classes, 12), np.float32)
    assert (model.bias.shape, model.bias.dtype) == ((classes,), np.float32)
    expected = softmax(logits(model, features) / model.temperature, axis=1)
    assert model.probabilities(features) == pytest.approx(expected, abs=1e-5)


def test_the_logistic_regression_is_scikit_learns_on_scaled_features() -> None:
    features, targets = clusters(classes=4)
    model = fit_logreg(features, targets, 4, 0)
    theirs = LogisticRegression(C=model.c, tol=1e-8, max_iter=5000).fit(scaled(features), targets)
    assert model.probabilities(features) == pytest.approx(theirs.predict_proba(scaled(features)), abs=2e-3)
    assert model.temperature == 1


def test_two_classes_have_the_sigmoid_of_their_one_decision_value() -> None:
    features, targets = clusters(classes=2, apart=0.5)
    model = fit_logreg(features, targets, 2, 0)
    theirs = LogisticRegression(C=model.c, tol=1e-8, max_iter=5000).fit(scaled(features), targets)
    sigmoid = expit(theirs.decision_function(scaled(features)))
    assert model.probabilities(features)[:, 1] == pytest.approx(sigmoid, abs=2e-3)


def test_the_support_vector_machine_is_scikit_learns_on_scaled_features() -> None:
    features, targets = clusters(classes=4)
    model = fit_svm(features, targets, 4, 0)
    # liblinear's bias costs something, too; as a feature of size 100 it costs next to nothing.
    theirs = LinearSVC(C=model.c, dual=False, tol=1e-10, max_iter=10_000, intercept_scaling=100.0)
    expected = theirs.fit(scaled(features), targets).decision_function(scaled(features))
    assert logits(model, features) == pytest.approx(expected, abs=5e-3)


@BOTH
def test_the_unit_of_the_features_and_their_offset_do_not_matter(fit: Fit) -> None:
    features, targets = clusters()
    model, other = fit(features, targets, 3, 0), fit(features * 1000 - 300, targets, 3, 0)
    assert other.c == model.c
    assert other.probabilities(features * 1000 - 300) == pytest.approx(model.probabilities(features), abs=5e-3)


@BOTH
def test_renaming_the_classes_renames_the_answers(fit: Fit) -> None:
    features, targets = clusters()
    order = np.array([2, 0, 1])
    model, renamed = fit(features, targets, 3, 0), fit(features, order[targets], 3, 0)
    assert renamed.probabilities(features)[:, order] == pytest.approx(model.probabilities(features), abs=0.02)


@BOTH
def test_the_same_seed_gives_the_same_classifier(fit: Fit) -> None:
    features, targets = clusters(apart=0.5)
    one, two = fit(features, targets, 3, 7), fit(features, targets, 3, 7)
    assert np.array_equal(one.weight, two.weight)
    assert np.array_equal(one.bias, two.bias)
    assert (one.temperature, one.c, one.accuracy) == (two.temperature, two.c, two.accuracy)


# ── on pictures it has not seen ─────────────────────────────────────────────────────────────────────


@BOTH
@pytest.mark.parametrize(("classes", "width"), [(2, 12), (6, 12), (3, 400)])
def test_fresh_pictures_are_recognised_even_with_more_features_than_pictures(
    fit: Fit, classes: int, width: int
) -> None:
    known = clusters(classes=classes, width=width)
    features, targets = clusters(classes=classes, width=width, seed=1, each=100)
    answers = fit(*known, classes, 0).probabilities(features).argmax(axis=1)
    assert (answers == targets).mean() > 0.95


@BOTH
def test_the_cross_validated_accuracy_is_what_fresh_pictures_bear_out(fit: Fit) -> None:
    known = clusters(each=100, apart=0.4)
    features, targets = clusters(each=500, apart=0.4, seed=1)
    model = fit(*known, 3, 0)
    assert model.accuracy is not None
    assert model.accuracy == pytest.approx((model.probabilities(features).argmax(axis=1) == targets).mean(), abs=0.06)
    assert model.accuracy < 0.95  # or it would not have been put to the test


@BOTH
def test_the_confidence_is_what_fresh_pictures_bear_out(fit: Fit) -> None:
    known = clusters(each=100, apart=0.4)
    features, targets = clusters(each=500, apart=0.4, seed=1)
    probabilities = fit(*known, 3, 0).probabilities(features)
    right = (probabilities.argmax(axis=1) == targets).mean()
    assert probabilities.max(axis=1).mean() == pytest.approx(right, abs=0.06)


def test_the_temperature_makes_the_support_vector_machine_less_surprised() -> None:
    known = clusters(classes=8, each=30, apart=0.8)
    features, targets = clusters(classes=8, each=200, apart=0.8, seed=1)
    model = fit_svm(*known, 8, 0)
    plain = softmax(logits(model, features), axis=1)
    assert loss(model.probabilities(features), targets) < loss(plain, targets) - 0.1


def test_support_vectors_that_separate_everything_do_not_make_for_boundless_confidence() -> None:
    features, targets = clusters(classes=2, each=10, apart=8)
    model = fit_svm(features, targets, 2, 0)
    assert model.accuracy == 1
    assert 0.9 < model.probabilities(features).max(axis=1).mean() < 0.999


@pytest.mark.parametrize(("fit", "grid"), [(fit_logreg, LOGREG_GRID), (fit_svm, SVM_GRID)])
def test_noise_is_regularised_hardest(fit: Fit, grid: tuple[float, ...]) -> None:
    noise, clear = clusters(apart=0, width=60), clusters(apart=2, width=60)
    assert fit(*noise, 3, 0).c == grid[0]
    assert fit(*clear, 3, 0).c > grid[0]


# ── few pictures, odd features ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("fit", "c", "temperature"), [(fit_logreg, LOGREG_C, 1.0), (fit_svm, SVM_C, SVM_TEMPERATURE)])
def test_a_class_with_one_picture_gets_what_is_documented(fit: Fit, c: float, temperature: float) -> None:
    features, targets = clusters()
    kept = np.concatenate([np.flatnonzero(targets != 2), np.flatnonzero(targets == 2)[:1]])
    model = fit(features[kept], targets[kept], 3, 0)
    assert (model.c, model.temperature, model.accuracy) == (c, temperature, None)


@BOTH
def test_one_picture_of_each_class_is_enough_to_be_recognised_by(fit: Fit) -> None:
    known = clusters(classes=5, each=1, apart=2)
    features, targets = clusters(classes=5, each=100, apart=2, seed=1)
    assert (fit(*known, 5, 0).probabilities(features).argmax(axis=1) == targets).mean() > 0.85


@BOTH
def test_folds_are_as_many_as_the_smallest_class_has_pictures(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    class Counting(classic.StratifiedKFold):  # type: ignore[misc]
        def __init__(self, folds: int, **rest: object) -> None:
            made.append(folds)
            super().__init__(folds, **rest)

    monkeypatch.setattr(classic, "StratifiedKFold", Counting)
    features, targets = clusters(each=10)
    fit(features, targets, 3, 0)
    assert set(made) == {FOLDS}
    made.clear()
    kept = np.concatenate([np.flatnonzero(targets != 1), np.flatnonzero(targets == 1)[:2]])
    assert fit(features[kept], targets[kept], 3, 0).accuracy is not None
    assert set(made) == {2}


@BOTH
def test_features_that_are_all_the_same_leave_each_class_its_share(fit: Fit) -> None:
    targets = np.repeat([0, 1], 10).astype(np.int64)
    model = fit(np.full((20, 4), 3, dtype=np.float32), targets, 2, 0)
    assert model.probabilities(np.full((1, 4), 3, dtype=np.float32)) == pytest.approx(np.array([[0.5, 0.5]]), abs=0.01)


@BOTH
def test_a_feature_that_never_varied_is_not_blown_up_when_it_does(fit: Fit) -> None:
    features, targets = clusters()
    features[:, 0] = 0.25
    features[0, 0] += 1e-6
    model = fit(features, targets, 3, 0)
    moved = features.copy()
    moved[:, 0] += 1
    assert model.probabilities(moved) == pytest.approx(model.probabilities(features), abs=0.01)


@BOTH
def test_stopping_early_is_not_reported_to_the_user(fit: Fit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classic, "_MOST_STEPS", 1)
    model = fit(*clusters(), 3, 0)  # a warning would be an error here
    assert np.isfinite(model.weight).all()


@BOTH
def test_a_class_without_pictures_is_refused(fit: Fit) -> None:
    features, targets = clusters(classes=3)
    with pytest.raises(ValueError, match=r"a picture for each: 4, with \[20 20 20  0\]"):
        fit(features, targets, 4, 0)
    with pytest.raises(ValueError, match="a picture for each: 2"):
        fit(features, targets, 2, 0)
    with pytest.raises(ValueError, match="two classes or more"):
        fit(features[targets == 0], targets[targets == 0], 1, 0)


@BOTH
def test_features_that_are_not_finite_are_refused(fit: Fit) -> None:
    features, targets = clusters()
    features[3, 4] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        fit(features, targets, 3, 0)
