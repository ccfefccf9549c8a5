"""Logistic regression without an intercept: exchanging the sides of every comparison exchanges the probabilities."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_STEPS = 100
_TOLERANCE = 1e-9


class FitDiverged(ArithmeticError):
    """Raised when there is no optimum to find: the features hold something that is no finite number, or far apart."""


def sigmoid(values: ArrayLike) -> Floats:
    """1 / (1 + exp(-x)), without overflow."""
    halves = np.tanh(np.asarray(values, dtype=np.float64) / 2)
    return np.asarray((1 + halves) / 2)


def logit(probabilities: ArrayLike, *, clip: float) -> Floats:
    """log(p / (1 - p)) of p brought into [clip, 1 - clip]; exactly antisymmetric about one half."""
    away = np.clip(np.asarray(probabilities, dtype=np.float64) - 0.5, clip - 0.5, 0.5 - clip)
    return np.asarray(np.log1p(2 * away) - np.log1p(-2 * away))


def fit_logistic(features: Floats, outcomes: Floats, *, l2: float) -> Floats:
    """The (d,) weights that minimise cross-entropy + l2 / 2 * |w|^2, by Newton's method with step halving.

    `features` is (n, d); `outcomes` is (n,) in [0, 1], one half for a tie; l2 > 0, so that separable data has an
    answer. Raises FitDiverged.
    """
    if not np.isfinite(features).all():
        raise FitDiverged(f"{int((~np.isfinite(features)).sum())} of {features.size} features are not finite numbers")
    weights = np.zeros(features.shape[1])
    for _ in range(_STEPS):
        step = _newton_step(weights, features, outcomes, l2)
        if np.abs(step).max(initial=0.0) < _TOLERANCE:
            return weights - step
        before = _loss(weights, features, outcomes, l2)
        while _loss(weights - step, features, outcomes, l2) > before and np.abs(step).max() > _TOLERANCE:
            step = step / 2
        weights = weights - step
    raise FitDiverged(f"no optimum after {_STEPS} steps for {features.shape} features: scale them to about one")


def log_evidence(weights: Floats, features: Floats, outcomes: Floats, *, l2: float) -> float:
    """How well a penalty explains the outcomes, at its own optimal weights: log P(outcomes | l2), up to a constant.

    Laplace's approximation with the Gaussian prior that the penalty is (MacKay, "The Evidence Framework Applied to
    Classification Networks", 1992): it weighs penalties by the data that the weights are fitted to, without folds.
    """
    _, volume = np.linalg.slogdet(_curvature(weights, features, l2))
    return float(len(weights) / 2 * np.log(l2) - _loss(weights, features, outcomes, l2) - volume / 2)


def _newton_step(weights: Floats, features: Floats, outcomes: Floats, l2: float) -> Floats:
    probabilities = sigmoid(features @ weights)
    gradient = features.T @ (probabilities - outcomes) + l2 * weights
    return np.asarray(np.linalg.solve(_curvature(weights, features, l2), gradient))


def _curvature(weights: Floats, features: Floats, l2: float) -> Floats:
    """The (d, d) second derivative of the loss."""
    probabilities = sigmoid(features @ weights)
    scaled = features * (probabilities * (1 - probabilities))[:, None]
    return np.asarray(scaled.T @ features + l2 * np.eye(len(weights)))


def _loss(weights: Floats, features: Floats, outcomes: Floats, l2: float) -> float:
    """Cross-entropy in nats, log(1 + exp(z)) - y z without overflow, and the penalty."""
    logits = features @ weights
    return float((np.logaddexp(0.0, logits) - outcomes * logits).sum() + l2 / 2 * weights @ weights)
