"""Exact statements about shares: how large one may be, and whether two answers were equally likely."""

from __future__ import annotations

import math

_HALVINGS = 60


def upper_bound(hits: int, trials: int, *, error_probability: float) -> float:
    """The Clopper-Pearson upper confidence bound of a share (Biometrika 26, 1934): 1 without a trial.

    The true share lies above it with at most `error_probability`.
    """
    if hits >= trials:
        return 1.0
    low, high = hits / trials, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if at_most(hits, trials, middle) > error_probability else (low, middle)
    return high


def sign_test(ups: int, downs: int) -> float:
    """The two-sided p-value of as uneven a split among changes that go either way equally often: exact McNemar test.

    1 without a change (McNemar, Psychometrika 12, 1947).
    """
    return min(1.0, 2 * at_most(min(ups, downs), ups + downs, 0.5))


def at_most(hits: int, trials: int, share: float) -> float:
    """P(X <= hits) for X binomial, with 0 <= share <= 1."""
    if share in (0.0, 1.0):
        return 1.0 if share == 0.0 or hits >= trials else 0.0
    return min(1.0, math.fsum(_exactly(count, trials, share) for count in range(hits + 1)))


def _exactly(hits: int, trials: int, share: float) -> float:
    ways = math.lgamma(trials + 1) - math.lgamma(hits + 1) - math.lgamma(trials - hits + 1)
    return math.exp(ways + hits * math.log(share) + (trials - hits) * math.log1p(-share))
