from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg  # noqa: F401  (loads an OpenBLAS of its own)
from numpy.typing import NDArray
from threadpoolctl import threadpool_info, threadpool_limits

from finetune.evaluation import threads, transferability
from finetune.evaluation.threads import MOST_ON_ONE, on_one_thread
from finetune.insights import label_errors
from finetune.training import classic


def counts() -> set[int]:
    """Return how many threads the libraries in this process may use."""
    return {library["num_threads"] for library in threadpool_info()}


@pytest.fixture(autouse=True)
def three() -> None:  # type: ignore[misc]
    with threadpool_limits(3):
        yield


def test_a_small_fit_has_one_thread_and_what_comes_after_as_many_as_before() -> None:
    assert counts() == {3}
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


@pytest.mark.parametrize("fit", [classic.fit_logreg, classic.fit_svm])
def test_classifiers_are_fitted_on_one_thread_and_the_largest_on_all(fit: object, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[set[int]] = []
