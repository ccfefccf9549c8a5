"""Estimates with their intervals. Answers to one prompt are not independent, so intervals resample prompts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

_RESAMPLED_AT_ONCE = 1_000_000


class NothingToEstimate(ValueError):
    """Raised when there is no observation to estimate from."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean and its confidence interval, from `observations` values in `clusters` prompts."""

    value: float
    low: float
    high: float
    observations: int
    clusters: int


@dataclass(frozen=True, slots=True)
class LengthDifference:
    """How the first completions' lengths compare with the second's, in the caller's unit."""

    mean_first: float
    mean_second: float
    mean_difference: float
    first_longer_share: float


def win_rate(
    outcomes: Mapping[str, Sequence[float]], *, rng: np.random.Generator, samples: int = 2000, confidence: float = 0.95
) -> Estimate:
    """(wins + ties / 2) / n over outcomes by prompt: 1 a win, 0.5 a tie, 0 a loss.

    Raises NothingToEstimate, and ValueError for an outcome outside [0, 1].
    """
    if strange := [value for values in outcomes.values() for value in values if not 0.0 <= value <= 1.0]:
        raise ValueError(f"outcome {strange[0]} is outside [0, 1]")
    return clustered_mean(outcomes, rng=rng, samples=samples, confidence=confidence)


def paired_difference(
    pairs: Mapping[str, Sequence[tuple[float, float]]],
    *,
    rng: np.random.Generator,
    samples: int = 2000,
    confidence: float = 0.95,
) -> Estimate:
    """The mean of first - second over pairs by prompt. Raises NothingToEstimate."""
    differences = {prompt: [first - second for first, second in given] for prompt, given in pairs.items()}
    return clustered_mean(differences, rng=rng, samples=samples, confidence=confidence)


def clustered_mean(
    values: Mapping[str, Sequence[float]], *, rng: np.random.Generator, samples: int = 2000, confidence: float = 0.95
) -> Estimate:
    """The mean over all values, with the percentile interval of a bootstrap that resamples prompts.

    The same `rng` state and the same values give the same interval, whatever the mapping's order.
    Raises NothingToEstimate.
    """
    clusters = [values[prompt] for prompt in sorted(values) if values[prompt]]
    if not clusters:
        raise NothingToEstimate("there is no outcome to estimate from: no held-out comparison has a valid verdict")
    sums = np.array([math.fsum(cluster) for cluster in clusters])
    sizes = np.array([len(cluster) for cluster in clusters])
    means = _resampled_means(sums, sizes, rng=rng, samples=samples)
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    count = int(sizes.sum())
    return Estimate(math.fsum(sums.tolist()) / count, float(low), float(high), count, len(clusters))


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Estimate:
    """A proportion with Wilson's score interval (J. Am. Stat. Assoc. 22, 1927), each trial its own cluster.

    Raises NothingToEstimate without trials.
    """
    if trials == 0:
        raise NothingToEstimate("there is no trial to estimate a proportion from")
    if not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes do not fit {trials} trials")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / trials
    spread = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / spread
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / spread
    low, high = min(max(centre - half, 0.0), share), max(min(centre + half, 1.0), share)
    return Estimate(share, low, high, trials, trials)


def length_difference(lengths: Iterable[tuple[int, int]]) -> LengthDifference:
    """Compares the lengths of (first, second) completions. Raises NothingToEstimate."""
    pairs = list(lengths)
    if not pairs:
        raise NothingToEstimate("there is no pair of lengths to compare")
    first = math.fsum(pair[0] for pair in pairs) / len(pairs)
    second = math.fsum(pair[1] for pair in pairs) / len(pairs)
    longer = sum(1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs) / len(pairs)
    return LengthDifference(first, second, first - second, longer)


def _resampled_means(
    sums: NDArray[np.float64], sizes: NDArray[np.int64], *, rng: np.random.Generator, samples: int
) -> NDArray[np.float64]:
    """(samples,) means, each over as many clusters as there are, drawn with replacement; in bounded memory."""
    rows = max(1, _RESAMPLED_AT_ONCE // len(sums))
    means = []
    for start in range(0, samples, rows):
        chosen = rng.integers(len(sums), size=(min(rows, samples - start), len(sums)))
        means.append(sums[chosen].sum(axis=1) / sizes[chosen].sum(axis=1))
    return np.concatenate(means)
