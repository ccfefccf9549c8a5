"""What a reward model is worth on pairs of prompts that it has not seen, ties left out.

Accuracy as in RewardBench (Lambert et al., arXiv 2403.13787), expected calibration error after Guo et al. (arXiv
1706.04599), and what length alone explains, as Singhal et al. ask (arXiv 2310.03716).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.rlaif.evidence import EnsembleMetrics, Estimate, HeldOutMetrics
from app.rlaif.logistic import sigmoid
from app.rlaif.reliability import calibration_error
from app.rlaif.statistics import clustered_mean
from workers.training.pairs import EncodedPair

_CONFIDENCE = 0.95

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class ScoredPair:
    """A held-out pair and the rewards of its two completions."""

    pair: EncodedPair
    first: float
    second: float

    @property
    def better_margin(self) -> float:
        """Reward of the side that the label prefers, less that of the other."""
        return self.first - self.second if self.pair.probability > 0.5 else self.second - self.first

    @property
    def better_excess_tokens(self) -> int:
        """Tokens of the preferred side, less those of the other."""
        difference = len(self.pair.first) - len(self.pair.second)
        return difference if self.pair.probability > 0.5 else -difference


def measure(scored: Sequence[ScoredPair], *, seed: int) -> HeldOutMetrics:
    """Accuracy with an interval clustered by prompt, calibration, and how much of it length explains."""
    decided = [item for item in scored if not item.pair.is_tie]
    margins = np.array([item.better_margin for item in decided])
    excess = np.array([item.better_excess_tokens for item in decided])
    right = _half_for_ties(margins)
    shorter = right[excess < 0]
    return HeldOutMetrics(
        held_out_accuracy=_clustered_accuracy(decided, right, seed) if decided else None,
        prefer_longer_accuracy=float(_half_for_ties(excess).mean()) if decided else None,
        shorter_right_accuracy=float(shorter.mean()) if len(shorter) else None,
        ece=calibration_error(sigmoid(margins), np.ones_like(margins)) if decided else None,
        length_correlation=_length_correlation(scored),
        held_out_pairs=len(scored),
    )


def mean_of(scored: Sequence[Sequence[ScoredPair]]) -> list[ScoredPair]:
    """The same pairs with the mean of the members' rewards, as the ensemble gives them."""
    return [
        ScoredPair(
            same[0].pair, float(np.mean([each.first for each in same])), float(np.mean([each.second for each in same]))
        )
        for same in zip(*scored, strict=True)
    ]


def measure_ensemble(scored: Sequence[Sequence[ScoredPair]], *, seed: int) -> EnsembleMetrics:
    """What each member is worth by itself, and how much they differ on the same pairs (members, pairs)."""
    alone = [measure(member, seed=seed).held_out_accuracy for member in scored]
    margins = np.array([[item.better_margin for item in member if not item.pair.is_tie] for member in scored])
    return EnsembleMetrics(
        members=len(scored),
        member_accuracies=[each.value for each in alone if each is not None],
        disagreement=float((np.sign(margins) != np.sign(margins[0])).any(axis=0).mean()) if margins.size else None,
        margin_deviation=float(margins.std(axis=0).mean()) if margins.size else None,
    )


def _half_for_ties(differences: NDArray[np.generic]) -> Floats:
    """1 where positive, 0 where negative, 0.5 where the two sides are equal."""
    return (np.sign(differences.astype(np.float64)) + 1) / 2


def _clustered_accuracy(decided: Sequence[ScoredPair], right: Floats, seed: int) -> Estimate:
    """Mean over pairs; the interval resamples prompts, since the pairs of a prompt share completions."""
    by_prompt: dict[str, list[float]] = defaultdict(list)
    for item, value in zip(decided, right.tolist(), strict=True):
        by_prompt[repr(item.pair.prompt)].append(value)
    mean = clustered_mean(by_prompt, rng=np.random.default_rng(seed), confidence=_CONFIDENCE)
    return Estimate(value=mean.value, low=mean.low, high=mean.high, confidence=_CONFIDENCE, n=len(decided))


def _length_correlation(scored: Sequence[ScoredPair]) -> float | None:
    """Pearson's r of reward and completion tokens over all completions; None where either does not vary."""
    rewards = np.array([value for item in scored for value in (item.first, item.second)])
    tokens = np.array([len(side) for item in scored for side in (item.pair.first, item.pair.second)], dtype=np.float64)
    if len(scored) == 0 or rewards.std() == 0 or tokens.std() == 0:
        return None
    return float(np.clip(np.corrcoef(rewards, tokens)[0, 1], -1, 1))
