"""How well frozen features suit a task, before anything is trained on them: published scores and a cross-validation.

Shapes: ``N`` pictures, ``D`` features, ``K`` classes. Features are float32 or float64 (N, D), one row per picture;
targets are int64 (N,), the index of each picture's class. Every score rises with better features.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from finetune.evaluation.threads import on_one_thread

Features = NDArray[np.float32] | NDArray[np.float64]
Targets = NDArray[np.int64]
Vector = NDArray[np.float64]

PROBE_C = 0.003
"""Inverse strength of the probe's regularisation, on standardised features: fixed, so that scores compare."""

_MOST_STEPS = 100
_TOLERANCE = 1e-6
_RATIO_SPAN = 1e12


# ── LogME ───────────────────────────────────────────────────────────────────────────────────────────


@on_one_thread()
def log_me(features: Features, targets: Targets) -> float:
    """Return the log of the maximum evidence, per picture, of linear models that tell each class from the rest.

    The mean over the classes present; rises with better features, has no fixed range and depends on the number of
    classes, so it compares features for one task and not tasks. Every class needs one picture. Does not depend on
    the features' scale. Raises ``ValueError`` for values that are not finite, for fewer than two classes and for
    shapes that do not fit. You et al. 2021, "LogME: Practical Assessment of Pre-trained Models for Transfer Learning".
    """
    matrix = _checked(features, targets)
    left, singular, _ = np.linalg.svd(matrix, full_matrices=False)
    kept = singular > singular[0] * np.finfo(np.float64).eps * max(matrix.shape)
    axes, spectrum = left[:, kept], singular[kept] ** 2
    one_hot = (targets[:, None] == np.unique(targets)).astype(np.float64)  # (N, K)
    return float(np.mean([_log_evidence(axes, spectrum, label) for label in one_hot.T]))


def _log_evidence(axes: Vector, spectrum: Vector, label: Vector) -> float:
    """Return max over α and β of log p(label | α, β) / N; ``axes`` (N, rank) are the features' left singular vectors.

    Written in t = α / β, the prior's precision over the noise's: α and the axes without variance cancel.
    """
    along = (axes.T @ label) ** 2  # (rank,)
    beside = max(float(label @ label - along.sum()), 0.0)
    ratio = _fixed_point(spectrum, along, beside, len(label))
    residual, norm = _fit(spectrum, along, beside, ratio)
    precision = len(label) / max(residual + ratio * norm, np.finfo(np.float64).tiny)  # β
    volume = float(np.log1p(spectrum / ratio).sum()) / len(label)
    return 0.5 * (float(np.log(precision)) - volume - 1.0 - float(np.log(2 * np.pi)))


def _fixed_point(spectrum: Vector, along: Vector, beside: float, pictures: int) -> float:
    """Return the t = α / β at which α = γ / |m|² and β = (N - γ) / |y - F m|², where the evidence is highest."""
    if not along.sum():
        return float(np.sum(spectrum) * _RATIO_SPAN) or 1.0
    ratio, scale = float(spectrum.mean()), float(spectrum.max())
    for _ in range(_MOST_STEPS):
        before = ratio
        used = float((spectrum / (spectrum + ratio)).sum())  # γ, the well-determined parameters
        # N - γ as a sum of what is left over: the difference would lose every digit where N pictures fill N axes.
        unused = float((ratio / (spectrum + ratio)).sum()) + pictures - len(spectrum)
        residual, norm = _fit(spectrum, along, beside, ratio)
        ratio = float(np.clip(used * residual / (norm * unused), scale / _RATIO_SPAN, scale * _RATIO_SPAN))
        if abs(ratio - before) <= _TOLERANCE * before:
            break
    return ratio


def _fit(spectrum: Vector, along: Vector, beside: float, ratio: float) -> tuple[float, float]:
    """Return |y - F m|² and |m|² for the posterior's mean m at this t."""
    residual = float((along / (1 + spectrum / ratio) ** 2).sum()) + beside
    return residual, float((spectrum * along / (spectrum + ratio) ** 2).sum())


# ── H-score ─────────────────────────────────────────────────────────────────────────────────────────


@on_one_thread()
def h_score(features: Features, targets: Targets) -> float:
    """Return how much of the features' variance lies between the classes, in units of the variance: 0 to K - 1.

    The covariance is shrunk towards a sphere by Ledoit and Wolf's estimate, without which the score of more features
    than pictures is K - 1 whatever they hold. Raises as ``log_me``. Bao et al. 2019, "An Information-Theoretic
    Approach to Transferability in Task Transfer Learning"; shrunk as in Ibrahim et al. 2021, "Newer is not always
    better: Rethinking transferability metrics, their peculiarities, stability and performance".
    """
    matrix = _checked(features, targets)
    centred = matrix - matrix.mean(axis=0)
    _, singular, axes = np.linalg.svd(centred, full_matrices=False)
    variances = singular**2 / len(matrix)  # along the axes (rank, D)
    if not variances.sum():
        return 0.0
    shrinkage = float(ledoit_wolf_shrinkage(centred, assume_centered=True))
    shrunk = (1 - shrinkage) * variances + shrinkage * variances.sum() / matrix.shape[1]
    between = _variances_between(centred @ axes.T, targets)
    return float((1 - shrinkage) * (between[shrunk > 0] / shrunk[shrunk > 0]).sum())


def _variances_between(coordinates: Vector, targets: Targets) -> Vector:
    """Return the variance of the class means, each counted as often as its class, along every axis: (rank,)."""
    classes = np.unique(targets)
    means = np.stack([coordinates[targets == k].mean(axis=0) for k in classes])  # (K, rank)
    shares = np.array([(targets == k).mean() for k in classes])
    between: Vector = shares @ means**2
    return between


# ── cross-validation ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class CrossValidated:
    """The mean accuracy (0..1) over the folds and its standard error, from the folds' own scatter."""

    accuracy: float
    standard_error: float
    folds: int


@on_one_thread()
def cross_validated_accuracy(features: Features, targets: Targets, seed: int, folds: int = 5) -> CrossValidated:
    """Return how often a logistic regression is right about pictures that it was not fitted to.

    The folds are stratified and drawn with ``seed``, at most as many as the smallest class has pictures; the
    regularisation is ``PROBE_C``. Raises ``ValueError`` when a class has one picture, which cannot be both fitted to
    and held out, for fewer than two folds, and as ``log_me``.
    """
    matrix = _checked(features, targets).astype(np.float32)
    allowed = min(folds, int(np.unique(targets, return_counts=True)[1].min()))
    if allowed < 2:
        raise ValueError("cross-validation needs two folds, and two pictures of every class")
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=PROBE_C, max_iter=300))
    parts = StratifiedKFold(allowed, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a rank of features does not hang on the last digits
        scores = cross_val_score(probe, matrix, targets, cv=parts, error_score="raise")
    error = float(scores.std(ddof=1)) / allowed**0.5
    return CrossValidated(accuracy=float(scores.mean()), standard_error=error, folds=allowed)


def _checked(features: Features, targets: Targets) -> Vector:
    if features.ndim != 2 or targets.shape != features.shape[:1] or not features.shape[1]:
        raise ValueError(f"features {features.shape} and targets {targets.shape} do not fit: (N, D) and (N,) do")
    if not np.isfinite(features).all():
        raise ValueError("features contain values that are not finite")
    if len(np.unique(targets)) < 2:
        raise ValueError("a score needs pictures of at least two classes")
    return features.astype(np.float64)
