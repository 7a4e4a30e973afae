"""Bins of confidence, and what answers were before a temperature."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax

from finetune.evaluation.calibration import BINS, expected_calibration_error
from finetune.evaluation.reliability import reliability, without_temperature

from .conftest import several, single


@given(seed=st.integers(0, 1000), pictures=st.integers(1, 60), task=st.sampled_from(["single-label", "multi-label"]))
@settings(max_examples=25)
def test_the_gaps_of_the_bins_are_the_expected_calibration_error(seed: int, pictures: int, task: str) -> None:
    answers, targets = (single if task == "single-label" else several)(pictures, seed=seed)

    found = reliability(task, answers, targets)

    gaps = np.nansum(found.counts * np.abs(found.confidence - found.right)) / found.counts.sum()
    assert gaps == pytest.approx(expected_calibration_error(task, answers, targets))
    assert found.counts.sum() == (pictures if task == "single-label" else answers.size)
    assert (np.isnan(found.right) == (found.counts == 0)).all()


def test_a_confidence_on_an_edge_belongs_to_the_bin_below_it() -> None:
    found = reliability("single-label", np.array([[0.0, 1.0]], np.float32), np.array([1]))

    assert (found.counts.argmax(), found.confidence[-1], found.right[-1]) == (BINS - 1, 1.0, 1.0)


@given(seed=st.integers(0, 1000), temperature=st.floats(0.05, 20), spread=st.floats(0.1, 8))
@settings(max_examples=25)
def test_without_the_temperature_answers_are_those_of_the_logits_themselves(
    seed: int, temperature: float, spread: float
) -> None:
    logits = np.random.default_rng(seed).uniform(-spread, spread, (6, 4)) * min(1, temperature)
    one = softmax(logits / temperature, axis=1).astype(np.float32)
    each = expit(logits / temperature).astype(np.float32)

    assert without_temperature("single-label", one, temperature) == pytest.approx(softmax(logits, axis=1), abs=1e-4)
    assert without_temperature("multi-label", each, temperature) == pytest.approx(expit(logits), abs=1e-4)


def test_answers_that_are_certain_stay_certain() -> None:
    certain = np.array([[1.0, 0.0]], np.float32)

    for task in ("single-label", "multi-label"):
        assert without_temperature(task, certain, 1.7).tolist() == [[1.0, 0.0]]
