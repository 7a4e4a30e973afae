"""A map of pictures: those that look alike to a network come to lie close together.

Shapes: ``N`` pictures, ``D`` features.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from finetune.evaluation.threads import on_one_thread

FEWEST_FOR_NEIGHBOURS = 10
"""Fewer pictures have no neighbourhoods to keep, and are laid out along the two directions they differ most in."""
MOST_DIRECTIONS = 50
PERPLEXITY = 30
"""How many neighbours count at most, as van der Maaten and Hinton (2008) have it; of few pictures, a third."""
_STEPS = 500


@on_one_thread()
def places(embeddings: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    """Return where pictures lie on a map: their embeddings, (N, D), to places between 0 and 1, (N, 2).

    t-SNE (van der Maaten and Hinton 2008) on the principal components, by scikit-learn; of few pictures the
    components alone. Pictures that do not differ lie in the middle. Raises ``ValueError`` for embeddings that are not
    finite.
    """
    distinct, which = np.unique(embeddings, axis=0, return_inverse=True)
    directions = _principal(distinct, seed)
    if len(distinct) >= FEWEST_FOR_NEIGHBOURS and directions.shape[1] > 1:
        directions = _neighbouring(directions, seed)
    return _in_unit_square(directions[:, :2])[which.ravel()]


def _principal(embeddings: NDArray[np.float32], seed: int) -> NDArray[np.float64]:
    """Return the principal components, (N, 1 to 50); none of a single picture, which differs from nothing."""
    count = min(MOST_DIRECTIONS, len(embeddings) - 1, embeddings.shape[1])
    if not count:
        return np.zeros((len(embeddings), 1))
    found: NDArray[np.float64] = PCA(count, random_state=seed).fit_transform(embeddings.astype(np.float64))
    return found


def _neighbouring(directions: NDArray[np.float64], seed: int) -> NDArray[np.float64]:
    perplexity = min(PERPLEXITY, (len(directions) - 1) / 3)
    layout = TSNE(perplexity=perplexity, init="pca", max_iter=_STEPS, random_state=seed, n_jobs=1)
    # Its squares are float32, which has no room for those of every float32.
    found: NDArray[np.float32] = layout.fit_transform(directions / (np.abs(directions).max() or 1.0))
    return found.astype(np.float64)


def _in_unit_square(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points (N, 1 or 2) in the unit square, (N, 2): as large as fits, in the middle, and not distorted."""
    plane = np.zeros((len(points), 2))
    plane[:, : points.shape[1]] = points
    middle = (plane.min(axis=0) + plane.max(axis=0)) / 2
    width = np.ptp(plane, axis=0).max()
    return np.asarray(np.clip((plane - middle) / (width or 1.0) + 0.5, 0.0, 1.0))
