"""Estimates with their intervals. Answers to one prompt are not independent, so intervals resample prompts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.rlaif.beliefs import lean, mean
from app.rlaif.calibration import prefer_longer_share
from app.rlaif.comparison import Answer
from app.rlaif.evidence import Distribution, LengthDifference, WinRate
from app.rlaif.length_control import OUTCOMES
from app.rlaif.significance import sign_flip_test

_RESAMPLED_AT_ONCE = 1_000_000


class NothingToEstimate(ValueError):
    """Raised when there is no observation to estimate from."""


@dataclass(frozen=True, slots=True)
class ClusteredMean:
    """A mean and its confidence interval, from the values of `clusters` prompts."""

    value: float
    low: float
    high: float
    clusters: int


def win_rate(
    probabilities: Mapping[str, Sequence[float]],
    *,
    rng: np.random.Generator,
    samples: int = 2000,
    confidence: float = 0.95,
) -> WinRate:
    """(wins + ties / 2) / n from P(the first is better) of each comparison, by prompt; above 0.5 is a win.

    Lengths are not looked at: app.rlaif.length_control does. Raises NothingToEstimate.
    """
    leans = {prompt: [lean(probability) for probability in given] for prompt, given in probabilities.items()}
    outcomes = {prompt: [OUTCOMES[answer] for answer in given] for prompt, given in leans.items()}
    estimate = clustered_mean(outcomes, rng=rng, samples=samples, confidence=confidence)
    counts = Counter(answer for given in leans.values() for answer in given)
    return WinRate(
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        confidence=confidence,
        n_prompts=estimate.clusters,
        wins=counts[Answer.A],
        ties=counts[Answer.TIE],
        losses=counts[Answer.B],
        length_controlled=None,
        p_value=sign_flip_test(given.count(Answer.A) - given.count(Answer.B) for given in leans.values()),
        holm_p_value=None,
    )


def clustered_mean(
    values: Mapping[str, Sequence[float]], *, rng: np.random.Generator, samples: int = 2000, confidence: float = 0.95
) -> ClusteredMean:
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
    return ClusteredMean(math.fsum(sums.tolist()) / int(sizes.sum()), float(low), float(high), len(clusters))


def length_difference(pairs: Sequence[tuple[float, int, int]]) -> LengthDifference:
    """From (P(the policy's is better), policy tokens, base tokens). Raises NothingToEstimate."""
    if not pairs:
        raise NothingToEstimate("there is no pair whose lengths could be compared")
    return LengthDifference(
        policy_mean_tokens=mean(policy for _, policy, _ in pairs),
        base_mean_tokens=mean(base for _, _, base in pairs),
        difference_mean=mean(policy - base for _, policy, base in pairs),
        longer_wins_share=prefer_longer_share(pairs),
    )


def pass_hat(trials: Sequence[Sequence[bool]], k: int) -> float:
    """pass^k: the chance that k trials of a task all succeed, C(c, k) / C(n, k), averaged over tasks.

    tau-bench (arXiv 2406.12045); unbiased, and not pass@k, the chance that one of them does. `trials` holds each
    task's outcomes. Raises NothingToEstimate without a task, or with one that was tried fewer than k times.
    """
    if not trials or any(len(outcomes) < k for outcomes in trials):
        raise NothingToEstimate(f"pass^{k} needs at least one task, and {k} trials of each")
    return mean(math.comb(sum(outcomes), k) / math.comb(len(outcomes), k) for outcomes in trials)


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


def distribution(base: Sequence[float], policy: Sequence[float], *, bins: int = 20) -> Distribution | None:
    """Both over common bins of equal width; None where either is empty."""
    if not base or not policy:
        return None
    edges = np.histogram_bin_edges([*base, *policy], bins=bins, range=_range([*base, *policy], bins))
    counted = (np.histogram(values, bins=edges)[0].tolist() for values in (base, policy))
    return Distribution(edges=edges.tolist(), base=next(counted), policy=next(counted))


def _range(values: Sequence[float], bins: int) -> tuple[float, float]:
    """From the least to the greatest, and farther where floating point has not `bins` numbers between them."""
    low, high = min(values), max(values)
    least = 2 * bins * float(np.spacing(max(abs(low), abs(high))))
    margin = max(0.5, least) if high - low < least else 0.0
    return low - margin, high + margin
