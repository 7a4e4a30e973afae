from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from finetune.evaluation import threads, transferability
from finetune.evaluation.threads import MOST_ON_ONE, on_one_thread
from finetune.insights import label_errors, picture_map
from finetune.training import classic

FEATURES = np.random.default_rng(0).normal(size=(24, 5)).astype(np.float32)
TARGETS = np.tile(np.arange(2), 12)


def counts() -> set[int]:
    """Return how many threads the libraries of this process may use."""
    return {library["num_threads"] for library in threadpool_info()}


@pytest.fixture(autouse=True)
def three_threads() -> Iterator[None]:
    with threadpool_limits(3):
        yield


def seen_during(fit: Callable[[], Any], module: Any, step: str) -> set[int]:
    """Return how many threads there were whenever ``module`` took this step of a fit."""
    seen: set[int] = set()
    taken = getattr(module, step)

    def watched(*given: Any, **named: Any) -> Any:
        seen.update(counts())
        return taken(*given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, step, watched)
        fit()
    return seen


def test_a_small_fit_has_one_thread_and_what_comes_after_as_many_as_before() -> None:
    with on_one_thread(MOST_ON_ONE):
        assert counts() == {1}
    assert counts() == {3}


def test_a_large_fit_has_all_threads() -> None:
    with on_one_thread(2 * MOST_ON_ONE):
        assert counts() == {3}


def test_threads_come_back_after_a_fit_that_failed() -> None:
    with pytest.raises(ValueError, match="not finite"):
        transferability.log_me(np.full((4, 2), np.nan, dtype=np.float32), np.array([0, 1, 0, 1]))
    assert counts() == {3}


@pytest.mark.parametrize(
    ("fit", "module", "step"),
    [
        (lambda: classic.fit_logreg(FEATURES, TARGETS, 2, 0), classic, "_logreg"),
        (lambda: classic.fit_svm(FEATURES, TARGETS, 2, 0), classic, "_svm"),
        (lambda: transferability.log_me(FEATURES, TARGETS), transferability, "_log_evidence"),
        (lambda: transferability.h_score(FEATURES, TARGETS), transferability, "_variances_between"),
        (lambda: transferability.cross_validated_accuracy(FEATURES, TARGETS, 0), transferability, "cross_val_score"),
        (lambda: label_errors.held_out_probabilities(FEATURES, TARGETS, 2, 0), label_errors, "cross_val_predict"),
        (lambda: picture_map.places(FEATURES, 0), picture_map, "_neighbouring"),
    ],
)
def test_whatever_is_fitted_is_fitted_on_one_thread(fit: Callable[[], Any], module: Any, step: str) -> None:
    assert seen_during(fit, module, step) == {1}
    assert counts() == {3}


def test_a_large_classifier_is_fitted_on_all_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "MOST_ON_ONE", FEATURES.size * 2 - 1)

    assert seen_during(lambda: classic.fit_svm(FEATURES, TARGETS, 2, 0), classic, "_svm") == {3}


@pytest.mark.parametrize("fit", [classic.fit_logreg, classic.fit_svm])
def test_threads_change_a_classifier_by_rounding_alone(fit: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    one = fit(FEATURES, TARGETS, 2, 0)
    monkeypatch.setattr(threads, "MOST_ON_ONE", 0)
    several = fit(FEATURES, TARGETS, 2, 0)

    assert one.weight == pytest.approx(several.weight, rel=1e-3, abs=1e-5)
    assert (one.c, one.accuracy) == (several.c, several.accuracy)
    assert one.temperature == pytest.approx(several.temperature, rel=1e-3)
