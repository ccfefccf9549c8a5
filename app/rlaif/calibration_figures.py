"""How one probability a comparison stands to people's labels: figure by figure, each with its interval."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.rlaif.agreement import AnsweredTwice, cohens_kappa, measured, three_way_accuracy
from app.rlaif.beliefs import lean
from app.rlaif.calibration_evidence import Agreement, AtCoverage, CurveBin
from app.rlaif.comparison import Answer
from app.rlaif.labelled import Labelled, longer_first
from app.rlaif.logistic import Floats
from app.rlaif.measured import Measured
from app.rlaif.preferences import TIE_MARGIN
from app.rlaif.reliability import BINS, bin_of, correctness, reliability_curve
from app.rlaif.resampling import Resampler

_DECIMALS = 12
COVERAGES = tuple(tenth / 10 for tenth in range(1, 11))


@dataclass(frozen=True, slots=True)
class Against:
    """Labelled comparisons to measure against, and how prompts are drawn for the intervals.

    Probabilities are (n,) P(first is better), NaN where there is none.
    """

    labelled: Sequence[Labelled]
    resampler: Resampler

    @property
    def prompts(self) -> list[str]:
        return [each.prompt_id for each in self.labelled]

    @property
    def outcomes(self) -> Floats:
        return np.array([each.outcome for each in self.labelled])

    def mean(self, values: Sequence[float] | Floats) -> Measured | None:
        """The mean of one value a comparison, NaN where it says nothing."""
        return self.resampler.mean(self.prompts, values)

    def right(self, probabilities: Floats) -> Floats:
        """(n,) 1 right, 0 wrong, 0.5 where the judge finds a tie; NaN where people do, or there is no probability."""
        silent = np.isnan(probabilities) | (self.outcomes == 0.5)
        return np.where(silent, np.nan, correctness(probabilities, self.outcomes))

    def longer_is_right(self) -> Floats:
        """(n,) what always preferring the longer one would be."""
        return self.right(np.array([longer_first(each) for each in self.labelled]))

    def agreement(self, probabilities: Floats) -> Agreement:
        said = ~np.isnan(probabilities)
        outcomes, seen = self.outcomes[said], probabilities[said]
        prompts = [prompt for prompt, known in zip(self.prompts, said.tolist(), strict=True) if known]
        pairs = [
            AnsweredTwice(prompt, lean(outcome), answer_of(probability))
            for prompt, outcome, probability in zip(prompts, outcomes.tolist(), seen.tolist(), strict=True)
        ]
        return Agreement(
            coverage=self.mean(said.astype(np.float64)),
            accuracy=self.mean(self.right(probabilities)),
            three_way_accuracy=measured(three_way_accuracy, pairs, self.resampler),
            kappa=measured(cohens_kappa, pairs, self.resampler),
            brier=self.resampler.mean(prompts, (seen - outcomes) ** 2),
            ece=self._ece(prompts, seen, outcomes),
            curve=_curve(seen, outcomes),
        )

    def at_coverage(self, probabilities: Floats) -> tuple[AtCoverage, ...]:
        """Of what people decided, the surest tenth, two tenths, ...: how many of these are right.

        Comparisons of one confidence come together, so there may be fewer steps than tenths.
        """
        right = self.right(probabilities)
        known = ~np.isnan(right)
        sure, right = np.maximum(probabilities, 1 - probabilities)[known], right[known]
        decided = int((self.outcomes != 0.5).sum())
        if len(sure) == 0:
            return ()
        ordered = np.sort(sure)[::-1]
        levels = {float(ordered[int(np.ceil(share * len(ordered))) - 1]) for share in COVERAGES}
        return tuple(_at(level, sure, right, decided) for level in sorted(levels, reverse=True))

    def _ece(self, prompts: Sequence[str], probabilities: Floats, outcomes: Floats) -> Measured | None:
        """Expected calibration error: mean |confidence - accuracy| over tenths of confidence, by count."""
        sure = np.maximum(probabilities, 1 - probabilities)
        places = bin_of(sure)
        gaps = np.zeros((len(sure), BINS + 1))
        gaps[np.arange(len(sure)), places] = sure - correctness(probabilities, outcomes)
        gaps[:, BINS] = 1.0
        return self.resampler.ratio_of(prompts, gaps, _mean_gap, n=len(sure))


def answer_of(probability: float) -> Answer:
    """A side, or a tie where a preference would be believed to be one."""
    margin = round(abs(2 * probability - 1), _DECIMALS)  # the same from both sides
    return Answer.TIE if margin < TIE_MARGIN else lean(probability)


def _mean_gap(sums: Floats) -> Floats:
    return np.asarray(np.abs(sums[..., :BINS]).sum(axis=-1) / np.maximum(sums[..., BINS], 1.0))


def _curve(probabilities: Floats, outcomes: Floats) -> tuple[CurveBin, ...]:
    return tuple(
        CurveBin(low=each.low, high=each.high, count=each.count, confidence=each.confidence, accuracy=each.accuracy)
        for each in reliability_curve(probabilities, outcomes)
    )


def _at(level: float, sure: Floats, right: Floats, decided: int) -> AtCoverage:
    kept = right[sure >= level]
    return AtCoverage(coverage=len(kept) / decided, confidence=level, accuracy=float(kept.mean()), n=len(kept))
