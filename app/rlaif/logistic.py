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


def cross_entropy(logits: Floats, outcomes: Floats) -> float:
    """Summed over outcomes, in nats: log(1 + exp(z)) - y z, without overflow."""
    return float((np.logaddexp(0.0, logits) - outcomes * logits).sum())


def _newton_step(weights: Floats, features: Floats, outcomes: Floats, l2: float) -> Floats:
    probabilities = sigmoid(features @ weights)
    gradient = features.T @ (probabilities - outcomes) + l2 * weights
    curvature = (features * (probabilities * (1 - probabilities))[:, None]).T @ features
    return np.asarray(np.linalg.solve(curvature + l2 * np.eye(len(weights)), gradient))


def _loss(weights: Floats, features: Floats, outcomes: Floats, l2: float) -> float:
    return cross_entropy(features @ weights, outcomes) + l2 / 2 * float(weights @ weights)
