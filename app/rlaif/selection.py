"""Which candidate of a sweep is the best, and why. A figure that a gate refuses is never weighed against it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.rlaif.evidence import Count, Divergence, LengthDifference, Reason, RewardDifference, Share, WinRate
from app.rlaif.promotion import cohort_held, task_held
from app.rlaif.significance import sign_flip_test
from app.rlaif.statistics import NothingToEstimate, clustered_mean
from app.rlaif.task_evidence import TaskResult

GUARDED_COHORTS = ("capability", "regression")
"""What a candidate must not surely lose, where the recipe names nothing else."""

GUARD = "sweep.capability_cohorts"
TASK_GUARD = "sweep.tolerance"
SELECTED = "sweep.selected"
SURE = 0.05

Outcomes = Mapping[str, Mapping[int, float]]
"""What each of a policy's answers came to, 1 for a win, 0.5 for a tie, 0 for a loss: by prompt, then by position."""


class _Evidence(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PairedDifference(_Evidence):
    """By how much the first candidate's win rate exceeds the second's, on the same prompts and base answers."""

    value: float = Field(ge=-1, le=1)
    low: float = Field(ge=-1, le=1)
    high: float = Field(ge=-1, le=1)
    confidence: Share
    n_prompts: int = Field(ge=1)
    p_value: Share


class Standing(_Evidence):
    """What a candidate showed. Without a checkpoint its training failed, and a reason says how."""

    candidate: Count
    settings: dict[str, JsonValue]
    checkpoint: str | None
    win_rate: WinRate | None
    by_cohort: dict[str, WinRate]
    length: LengthDifference | None
    reward: RewardDifference | None
    divergence: Divergence | None
    reasons: list[Reason]  # every gate that was asked of it, the guarded cohorts among them

    @property
    def holds(self) -> bool:
        """Whether it may be promoted."""
        return self.win_rate is not None and all(reason.held for reason in self.reasons)


class Selection(_Evidence):
    """The candidate that the round goes on with; `promoted` where it also holds every gate."""

    selected: Count
    promoted: bool
    reason: str
    runner_up: Count | None  # the next best of those that hold their gates, or of all where none does
    difference: PairedDifference | None  # selected less runner-up
    candidates: list[Standing]


@dataclass(frozen=True, slots=True)
class Contender:
    """A candidate's standing and the outcomes that it rests on."""

    standing: Standing
    outcomes: Outcomes = field(default_factory=dict)


def guarded(
    by_cohort: Mapping[str, WinRate],
    tasks: Mapping[str, TaskResult],
    *,
    cohorts: Sequence[str] | None,
    tolerance: float,
) -> list[Reason]:
    """Whether each guarded cohort holds, and each capability task whose first figure is a share of its documents.

    None guards those of GUARDED_COHORTS that were measured. A perplexity knows no tolerance in shares: a gate of the
    recipe guards it.
    """
    asked = [name for name in GUARDED_COHORTS if name in by_cohort] if cohorts is None else cohorts
    shares = {name: found for name, found in tasks.items() if found.figures[0].p_value is not None}
    return [
        *(cohort_held(GUARD, cohort, tolerance, by_cohort) for cohort in asked),
        *(task_held(TASK_GUARD, name, tolerance, found) for name, found in sorted(shares.items())),
    ]


def select(
    contenders: Sequence[Contender], *, rng: np.random.Generator, samples: int = 2000, confidence: float = 0.95
) -> Selection:
    """The highest win rate over the base model among those whose gates all hold, or among all where none does.

    Of equal ones the first listed. The order of `contenders` changes nothing. Raises NothingToEstimate where none was
    measured.
    """
    measured = sorted((one for one in contenders if one.standing.win_rate is not None), key=_rank)
    if not measured:
        raise NothingToEstimate("no candidate of the sweep has a valid held-out comparison")
    passing = [one for one in measured if one.standing.holds]
    best, *others = passing or measured
    second = others[0] if others else None
    difference = None
    if second is not None:
        difference = paired_difference(best.outcomes, second.outcomes, rng=rng, samples=samples, confidence=confidence)
    standings = sorted((one.standing for one in contenders), key=lambda standing: standing.candidate)
    return Selection(
        selected=best.standing.candidate,
        promoted=bool(passing),
        reason=_reason(best.standing, second.standing if second else None, difference, standings),
        runner_up=None if second is None else second.standing.candidate,
        difference=difference,
        candidates=standings,
    )


def paired_difference(
    ours: Outcomes, theirs: Outcomes, *, rng: np.random.Generator, samples: int = 2000, confidence: float = 0.95
) -> PairedDifference | None:
    """Over the prompts and positions that both have an outcome for; its interval resamples prompts, its p-value is the
    exact sign-flip test's. None where they have none in common."""
    both = {
        prompt: [outcome - theirs[prompt][position] for position, outcome in mine.items() if position in theirs[prompt]]
        for prompt, mine in ours.items()
        if prompt in theirs
    }
    both = {prompt: differences for prompt, differences in both.items() if differences}
    if not both:
        return None
    found = clustered_mean(both, rng=rng, samples=samples, confidence=confidence)
    return PairedDifference(
        value=found.value,
        low=found.low,
        high=found.high,
        confidence=confidence,
        n_prompts=found.clusters,
        p_value=sign_flip_test(round(2 * math.fsum(each)) for each in both.values()),
    )


def _rank(one: Contender) -> tuple[float, int]:
    rate = one.standing.win_rate
    return (-rate.value if rate else math.inf, one.standing.candidate)


def _reason(
    best: Standing, second: Standing | None, difference: PairedDifference | None, standings: Sequence[Standing]
) -> str:
    sentences = [_won(best), _lead(best, second, difference), *_excluded(best, standings)]
    return " ".join(sentence for sentence in sentences if sentence)


def _won(best: Standing) -> str:
    rate = best.win_rate
    assert rate is not None  # noqa: S101  only measured candidates are ranked
    figure = f"win rate {rate.value:.3f} ({rate.confidence:.0%} interval {rate.low:.3f} to {rate.high:.3f})"
    if best.holds:
        return f"Candidate {best.candidate} has the highest {figure} of those that hold every gate."
    return f"No candidate holds every gate, so none is promoted; candidate {best.candidate} has the highest {figure}."


def _lead(best: Standing, second: Standing | None, difference: PairedDifference | None) -> str:
    if second is None:
        return "No other one does." if best.holds else "No other one was measured."
    if difference is None:
        return f"It shares no judged prompt with candidate {second.candidate}, the next best."
    found = (
        f"It leads candidate {second.candidate}, the next best, by {difference.value:+.3f} on the same "
        f"{difference.n_prompts} prompts (interval {difference.low:+.3f} to {difference.high:+.3f}, p = "
        f"{difference.p_value:.2g})."
    )
    if difference.low > 0 and difference.p_value < SURE:
        return found
    return (
        f"{found} That is not sure: the best of several, measured on the prompts that chose it, looks better than it "
        "is (winner's curse). Measure both again on other prompts before relying on the difference."
    )


def _excluded(best: Standing, standings: Sequence[Standing]) -> list[str]:
    """Why each candidate that does not hold its gates was not weighed; those with a higher win rate are named so."""
    return [_why_not(one, best) for one in standings if not one.holds and (best.holds or one.win_rate is None)]


def _why_not(one: Standing, best: Standing) -> str:
    failed = "; ".join(f"{reason.gate}: {reason.detail}" for reason in one.reasons if not reason.held)
    if one.win_rate is None:
        return f"Candidate {one.candidate} was not measured ({failed})."
    higher = best.win_rate is not None and one.win_rate.value > best.win_rate.value
    figure = f"win rate {one.win_rate.value:.3f}"
    return f"Candidate {one.candidate}, {'whose higher' if higher else 'with'} {figure}, was excluded ({failed})."
