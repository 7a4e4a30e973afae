"""The map of pictures: neighbours stay neighbours, chance is the seed's, and no data set is too small or too plain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from finetune.insights.picture_map import FEWEST_FOR_NEIGHBOURS, places


def test_what_is_alike_comes_to_lie_close_together() -> None:
    scans, targets = (part[:300] for part in load_digits(return_X_y=True))

    found = places(scans.astype(np.float32), seed=0)

    distances = np.square(found[:, None] - found[None]).sum(axis=2)
    np.fill_diagonal(distances, np.inf)
    assert (targets[distances.argmin(axis=1)] == targets).mean() > 0.85
    assert (found.min(), found.max()) == (0, 1)


def test_the_same_seed_draws_the_same_map() -> None:
    embeddings = np.random.default_rng(3).normal(size=(20, 4)).astype(np.float32)
    assert (places(embeddings, seed=5) == places(embeddings, seed=5)).all()


@settings(max_examples=40)
@given(
    count=st.integers(1, 14),
    width=st.integers(1, 3),
    distinct=st.integers(1, 14),
    size=st.sampled_from([0, 1e-30, 1, 1e30]),
)
def test_few_pictures_equal_ones_and_any_size_of_numbers_have_their_places(
    count: int, width: int, distinct: int, size: float
) -> None:
    rows = np.random.default_rng(4).normal(size=(distinct, width)).astype(np.float32) * np.float32(size)
    embeddings = rows[np.arange(count) % distinct]

    found = places(embeddings, seed=0)

    assert found.shape == (count, 2)
    assert ((found >= 0) & (found <= 1)).all()
    if distinct < count:
        assert (found[0] == found[distinct]).all(), "what is equal has one place"
    if size == 0 or min(count, distinct) == 1:
        assert (found == 0.5).all()
    else:
        assert np.ptp(found, axis=0).max() == pytest.approx(1)


def test_the_map_is_not_distorted() -> None:
    corners = np.array([[0, 0], [4, 0], [0, 1], [4, 1]], np.float32)
    assert np.ptp(places(corners, seed=0), axis=0) == pytest.approx([1, 0.25])


@pytest.mark.parametrize("count", [3, FEWEST_FOR_NEIGHBOURS + 2])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_embeddings_that_are_no_numbers_are_refused(count: int, number: float) -> None:
    embeddings = np.random.default_rng(3).normal(size=(count, 4)).astype(np.float32)
    embeddings[1, 1] = number
    with pytest.raises(ValueError, match=r"NaN|infinity"):
        places(embeddings, seed=0)
