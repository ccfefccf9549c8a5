"""Whether a stated probability means what it says, and the two ways to mend one that does not.

A comparison has no natural first side, so everything here treats (p, y) and (1 - p, 1 - y) alike. Probabilities are
P(first is better); outcomes are what people said: 1, 0, or 0.5 for a tie.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.rlaif.logistic import Floats, fit_logistic, logit, sigmoid

BINS = 10
_CLIP = 1e-6
_DECIMALS = 12  # 0.3 and 1 - 0.7 are one stated probability
_TEMPERATURE_PENALTY = 1e-3  # keeps the temperature of a judge that never errs on the calibration set above zero


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Comparisons whose confidence, max(p, 1 - p), is in one tenth of [0.5, 1]."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class Temperature:
    """p -> sigmoid(logit(p) / T), with `inverse` = 1 / T; 0 makes everything one half."""

    inverse: float

    def apply(self, probabilities: Floats) -> Floats:
        return sigmoid(self.inverse * logit(probabilities, clip=_CLIP))


@dataclass(frozen=True, slots=True)
class Isotonic:
    """A non-decreasing map through (stated, calibrated) knots, linear between them and flat outside."""

    stated: tuple[float, ...]
    calibrated: tuple[float, ...]

    def apply(self, probabilities: Floats) -> Floats:
        return np.interp(probabilities, self.stated, self.calibrated)


def correctness(probabilities: Floats, outcomes: Floats) -> Floats:
    """1 where the preferred side is people's, 0 where it is the other, 0.5 where either is a tie."""
    return np.asarray((1 + np.sign(probabilities - 0.5) * np.sign(outcomes - 0.5)) / 2)


def reliability_curve(probabilities: Floats, outcomes: Floats) -> tuple[ReliabilityBin, ...]:
    """The bins of equal width in confidence that hold a comparison."""
    confidence = np.maximum(probabilities, 1 - probabilities)
    right = correctness(probabilities, outcomes)
    places = bin_of(confidence)
    return tuple(
        ReliabilityBin(
            low=0.5 + place / (2 * BINS),
            high=0.5 + (place + 1) / (2 * BINS),
            count=int((places == place).sum()),
            confidence=float(confidence[places == place].mean()),
            accuracy=float(right[places == place].mean()),
        )
        for place in np.unique(places).tolist()
    )


def bin_of(confidence: Floats) -> NDArray[np.int64]:
    """The tenth of [0.5, 1] that a confidence is in; what differs from an edge by rounding alone is on it."""
    tenths = np.round((confidence - 0.5) * 2 * BINS, _DECIMALS - 3).astype(np.int64)
    return np.minimum(tenths, BINS - 1)


def calibration_error(probabilities: Floats, outcomes: Floats) -> float:
    """Expected calibration error: mean |confidence - accuracy| over the curve, by count (Guo et al., 2017)."""
    bins = reliability_curve(probabilities, outcomes)
    return sum(each.count * abs(each.confidence - each.accuracy) for each in bins) / len(probabilities)


def fit_temperature(probabilities: Floats, outcomes: Floats) -> Temperature:
    """Temperature scaling (Guo et al., 2017). A judge that is wrong more often than right gets 1 / T = 0."""
    (inverse,) = fit_logistic(logit(probabilities, clip=_CLIP)[:, None], outcomes, l2=_TEMPERATURE_PENALTY).tolist()
    return Temperature(max(inverse, 0.0))


def fit_isotonic(probabilities: Floats, outcomes: Floats) -> Isotonic:
    """Isotonic regression by pooling adjacent violators (Ayer et al., 1955; Zadrozny and Elkan, 2002).

    Every comparison counts from both sides, which makes the map antisymmetric about one half.
    """
    sides = np.concatenate([probabilities, 1 - probabilities]).round(_DECIMALS)
    stated, level = np.unique(sides, return_inverse=True)
    both = np.concatenate([outcomes, 1 - outcomes])
    sums = np.asarray(np.bincount(level, weights=both), dtype=np.float64)
    calibrated = _pooled(sums, np.bincount(level).astype(np.float64))
    return Isotonic(tuple(stated.tolist()), tuple(calibrated.tolist()))


def _pooled(sums: Floats, weights: Floats) -> Floats:
    """The non-decreasing means nearest to sums / weights, by weighted least squares."""
    blocks: list[tuple[float, float, int]] = []
    for total, weight in zip(sums.tolist(), weights.tolist(), strict=True):
        block = (total, weight, 1)
        while blocks and blocks[-1][0] * block[1] >= block[0] * blocks[-1][1]:
            before = blocks.pop()
            block = (before[0] + block[0], before[1] + block[1], before[2] + block[2])
        blocks.append(block)
    return np.repeat([total / weight for total, weight, _ in blocks], [count for _, _, count in blocks])
