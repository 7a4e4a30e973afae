"""Classic classifiers on frozen features: logistic regression and a linear support vector machine.

Both end as one linear layer over the features as they are, so a network deploys them as it deploys a trained head.
"CNN features off the shelf" under a linear SVM: Razavian et al. 2014. Shapes: ``N`` pictures, ``D`` features, ``K``
classes; features are float32 (N, D), targets int64 (N,) with every class from 0 to K - 1 among them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from finetune.evaluation.calibration import fit_temperature, log_loss_with_doubt
from finetune.evaluation.threads import on_one_thread

Features = NDArray[np.float32]
Targets = NDArray[np.int64]
Matrix = NDArray[np.float64]
Plane = tuple[Matrix, Matrix]  # weight (K, D) and bias (K,), over scaled features
Solver = Callable[[Features, Targets, int, float], Plane]

FOLDS = 3
"""How many parts the training pictures are held out in, in turn, to choose C and the temperature."""

LOGREG_GRID = (1e-3, 1e-2, 1e-1, 1.0)
LOGREG_C = 1e-1
"""What is tried for a logistic regression's C, and what is taken where a class has too few pictures to try."""

SVM_GRID = (1e-5, 1e-4, 1e-3, 1e-2)
SVM_C = 1e-3
"""What is tried for a support vector machine's C, and what is taken where a class has too few pictures to try."""

SVM_TEMPERATURE = 0.2
"""A support vector machine's temperature where a class has too few pictures to fit one: 0.1 to 0.4 were fitted."""

_MOST_STEPS = 500


@dataclass(frozen=True, kw_only=True, eq=False)
class LinearClassifier:
    """A linear layer with a temperature: softmax((features @ weight.T + bias) / temperature) are its probabilities.

    ``weight`` is float32 (K, D), ``bias`` float32 (K,), ``temperature`` positive. ``c`` is the inverse strength of
    the regularisation that was chosen; ``accuracy`` (0..1) what cross-validation on the training pictures measured
    for it, None where a class has too few of them.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    temperature: float
    c: float
    accuracy: float | None

    def probabilities(self, features: Features) -> NDArray[np.float32]:
        """Return the probability of each class: features float32 (N, D) to float32 (N, K)."""
        logits = (features @ self.weight.T + self.bias) / np.float32(self.temperature)
        answer: NDArray[np.float32] = softmax(logits, axis=1)
        return answer


def fit_logreg(features: Features, targets: Targets, classes: int, seed: int) -> LinearClassifier:
    """Return a multinomial logistic regression with an L2 penalty; its temperature is 1.

    C is the one of ``LOGREG_GRID`` with the lowest log loss in a stratified cross-validation, whose folds ``seed``
    draws; ``LOGREG_C`` where a class has a single picture. Raises ``ValueError`` when a class has none, and for
    features that are not finite.
    """
    return _fitted(_Task(_logreg, features, targets, classes, seed), LOGREG_GRID, _Choice(c=LOGREG_C))


def fit_svm(features: Features, targets: Targets, classes: int, seed: int) -> LinearClassifier:
    """Return a linear support vector machine, one class against the rest, calibrated by a temperature.

    C is chosen as by ``fit_logreg`` from ``SVM_GRID``; the temperature is fitted to the held-out decision values of
    the same cross-validation (Guo et al. 2017). ``SVM_C`` and ``SVM_TEMPERATURE`` where a class has a single picture.
    Raises as ``fit_logreg``.
    """
    known = _Choice(c=SVM_C, temperature=SVM_TEMPERATURE)
    return _fitted(_Task(_svm, features, targets, classes, seed, calibrated=True), SVM_GRID, known)


class _Task(NamedTuple):
    solve: Solver
    features: Features
    targets: Targets
    classes: int
    seed: int
    calibrated: bool = False


@dataclass(frozen=True, kw_only=True)
class _Choice:
    c: float
    temperature: float = 1.0
    accuracy: float | None = None
    loss: float = np.inf


def _fitted(task: _Task, grid: Sequence[float], unmeasured: _Choice) -> LinearClassifier:
    with on_one_thread(task.features.size * task.classes):
        return _fit(task, grid, unmeasured)


def _fit(task: _Task, grid: Sequence[float], unmeasured: _Choice) -> LinearClassifier:
    smallest = _smallest_class(task)
    mean = task.features.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = task.features - mean
    scales = _scales(centred)
    task = task._replace(features=centred / scales.astype(np.float32))
    choice = _choose(task, grid, min(FOLDS, smallest)) if smallest > 1 else unmeasured
    weight, bias = task.solve(task.features, task.targets, task.classes, choice.c)
    weight = weight / scales  # in float64: over the features as they are
    return LinearClassifier(
        weight=weight.astype(np.float32),
        bias=(bias - weight @ mean.astype(np.float64)).astype(np.float32),
        temperature=choice.temperature,
        c=choice.c,
        accuracy=choice.accuracy,
    )


def _smallest_class(task: _Task) -> int:
    counts = np.bincount(task.targets, minlength=task.classes)
    if task.classes < 2 or len(counts) != task.classes or not counts.all():
        raise ValueError(f"two classes or more are needed, with a picture for each: {task.classes}, with {counts}")
    if not np.isfinite(task.features).all():
        raise ValueError("features contain values that are not finite")
    return int(counts.min())


def _scales(centred: Features) -> Matrix:
    """Return what each centred feature is divided by, (D,): its deviation, with a tenth of the mean variance on top.

    The tenth keeps a feature that hardly varies from being blown up. Against one scale for all features it gained half
    a point on three sets of photos, against each feature's own alone, half a point on one.
    """
    variances: Matrix = np.square(centred).mean(axis=0, dtype=np.float64)
    return np.asarray(np.sqrt(variances + (0.1 * variances.mean() or 1.0)))


# ── choosing C and temperature ──────────────────────────────────────────────────────────────────────


def _choose(task: _Task, grid: Sequence[float], folds: int) -> _Choice:
    """Return the best of the grid, tried upwards until the log loss rises: it has one valley; high Cs cost most."""
    best = _Choice(c=grid[0])
    for c in grid:
        tried = _try(task, c, folds)
        if tried.loss >= best.loss:
            break
        best = tried
    return best


def _try(task: _Task, c: float, folds: int) -> _Choice:
    logits = _held_out(task, c, folds)
    temperature = fit_temperature("single-label", logits, task.targets) if task.calibrated else 1.0
    return _Choice(
        c=c,
        temperature=temperature,
        accuracy=float((logits.argmax(axis=1) == task.targets).mean()),
        loss=log_loss_with_doubt("single-label", logits / temperature, task.targets),
    )


def _held_out(task: _Task, c: float, folds: int) -> Matrix:
    """Return each picture's logits from a classifier that was fitted without its fold: (N, K)."""
    features, targets = task.features, task.targets
    logits = np.empty((len(targets), task.classes))
    for fitted, held in StratifiedKFold(folds, shuffle=True, random_state=task.seed).split(features, targets):
        weight, bias = task.solve(features[fitted], targets[fitted], task.classes, c)
        logits[held] = features[held] @ weight.T + bias
    return logits


# ── solvers: scaled features float32 (N, D) → weight (K, D), bias (K,) ──────────────────────────────


def _logreg(features: Features, targets: Targets, classes: int, c: float) -> Plane:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early is regularisation, too
        model = LogisticRegression(C=c, max_iter=_MOST_STEPS).fit(features, targets)
    weight, bias = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
    if classes == 2:  # one decision value d: the softmax of (-d/2, d/2) is its sigmoid
        return np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    return weight, bias


def _svm(features: Features, targets: Targets, classes: int, c: float) -> Plane:
    """Minimise |w|²/2 + C Σ max(0, 1 - y (w·x + b))² for all classes at once, by L-BFGS.

    scikit-learn's ``LinearSVC`` minimises the same, one class after the other: for 60 classes and 2,700 pictures in
    20 seconds, this in one.
    """
    signs = np.where(targets[:, None] == np.arange(classes), np.float32(1), np.float32(-1))  # (N, K)

    def objective(flat: Matrix) -> tuple[float, Matrix]:
        planes = flat.reshape(classes, -1)
        weight, bias = planes[:, :-1].astype(np.float32), planes[:, -1].astype(np.float32)
        missing = np.maximum(0, 1 - signs * (features @ weight.T + bias))  # what each margin lacks
        slope = -2 * c * signs * missing
        gradient = np.column_stack([planes[:, :-1] + slope.T @ features, slope.sum(axis=0)])
        loss = 0.5 * np.square(planes[:, :-1]).sum() + c * np.square(missing, dtype=np.float64).sum()
        return float(loss), gradient.ravel()

    start = np.zeros(classes * (features.shape[1] + 1))
    found = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": _MOST_STEPS, "ftol": 1e-6})
    planes = found.x.reshape(classes, -1)
    return planes[:, :-1], planes[:, -1]
