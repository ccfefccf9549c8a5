"""The win rate that would be seen if both sides wrote answers of equal length: AlpacaEval 2's regression.

Dubois et al., "Length-Controlled AlpacaEval" (arXiv 2404.04475). Its difficulty of each instruction is left out: that
is estimated over many models at once, and here there is one policy and its base.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from app.rlaif.beliefs import lean
from app.rlaif.comparison import Answer
from app.rlaif.evidence import LengthControlled
from app.rlaif.logistic import FitDiverged, Floats, sigmoid

FEWEST_PROMPTS = 20
"""Ten observations for each of the two parameters (Peduzzi et al., J. Clin. Epidemiol. 49, 1996)."""
OUTCOMES = {Answer.A: 1.0, Answer.TIE: 0.5, Answer.B: 0.0}
"""What a comparison counts for the first side."""

_L2 = 0.01  # so that separable outcomes have an answer; it moves the rate of 20 prompts by less than 0.003
_REACH = 2.0**0.5  # the longest row of features: (1, tanh)
_STEPS = 200
_TOLERANCE = 1e-9
_AT_ONCE = 500_000


@dataclass(frozen=True, slots=True)
class Contest:
    """P(ours is better), and the lengths of both answers in one unit."""

    probability: float
    ours: int
    theirs: int


def length_controlled(
    contests: Mapping[str, Sequence[Contest]],
    *,
    rng: np.random.Generator,
    samples: int = 2000,
    confidence: float = 0.95,
) -> LengthControlled | None:
    """sigmoid(strength) of P(win) = sigmoid(strength + taste * tanh(length difference / its scale)), by prompt.

    The scale is the root mean square of the differences, where AlpacaEval takes their standard deviation: the same for
    differences about zero, and finite for a policy that always writes about as much more. The interval resamples
    prompts. None for fewer than FEWEST_PROMPTS prompts, and where all differences are the same, but for zero: then
    nothing tells strength from length.
    """
    prompts = [prompt for prompt in sorted(contests) if contests[prompt]]
    if len(prompts) < FEWEST_PROMPTS:
        return None
    rows = [contest for prompt in prompts for contest in contests[prompt]]
    differences = np.array([contest.ours - contest.theirs for contest in rows], dtype=np.float64)
    if differences.any() and np.ptp(differences) == 0:
        return None
    features = np.stack([np.ones(len(rows)), _relative(differences)], axis=1)
    outcomes = np.array([OUTCOMES[lean(contest.probability)] for contest in rows])
    place = np.repeat(np.arange(len(prompts)), [len(contests[prompt]) for prompt in prompts])
    strength = _strengths(np.ones((1, len(rows))), features, outcomes)
    drawn = [
        _strengths(counts[:, place], features, outcomes) for counts in _draws(len(prompts), len(rows), rng, samples)
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(sigmoid(np.concatenate(drawn)), [tail, 1 - tail])
    return LengthControlled(value=float(sigmoid(strength)[0]), low=float(low), high=float(high))


def _relative(differences: Floats) -> Floats:
    scale = float(np.sqrt((differences**2).mean()))
    return np.tanh(differences / (scale or 1.0))


def _draws(prompts: int, rows: int, rng: np.random.Generator, samples: int) -> list[Floats]:
    """How often each prompt is drawn, (samples, prompts) in parts of which each makes a bounded (samples, rows)."""
    at_once, even = max(1, _AT_ONCE // rows), np.full(prompts, 1 / prompts)
    sizes = [min(at_once, samples - start) for start in range(0, samples, at_once)]
    return [rng.multinomial(prompts, even, size=size).astype(np.float64) for size in sizes]


def _strengths(counts: Floats, features: Floats, outcomes: Floats) -> Floats:
    """(b,) intercepts of penalised logistic regressions in which row i counts counts[:, i] times.

    Newton's method, its steps damped as is proven to converge from anywhere (Sun and Tran-Dinh, "Generalized
    self-concordant functions", Math. Program. 178, 2019). Raises FitDiverged.
    """
    weights = np.zeros((len(counts), 2))
    products = (features[:, :, None] * features[:, None, :]).reshape(len(features), 4)
    for _ in range(_STEPS):
        chances = sigmoid(weights @ features.T)
        gradient = (counts * (chances - outcomes)) @ features + _L2 * weights
        curvature = ((counts * chances * (1 - chances)) @ products).reshape(-1, 2, 2) + _L2 * np.eye(2)
        step = np.linalg.solve(curvature, gradient[:, :, None])[:, :, 0]
        way = _REACH * np.linalg.norm(step, axis=1, keepdims=True)
        weights = weights - step * np.where(way > 0, np.log1p(way) / np.where(way > 0, way, 1.0), 1.0)
        if way.max() < _TOLERANCE:
            return np.asarray(weights[:, 0])
    raise FitDiverged(f"no optimum after {_STEPS} steps for {len(features)} comparisons")
