"""Whether a judge still is what it was: the same labelled comparisons, asked again and read in the same way.

A provider may change a model behind its name at any time; a run that trusts an old calibration then trusts another
judge.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from app.rlaif.beliefs import lean
from app.rlaif.binomial import sign_test
from app.rlaif.calibration_evidence import Count, Share
from app.rlaif.logistic import Floats
from app.rlaif.measured import Measured
from app.rlaif.reliability import correctness
from app.rlaif.resampling import Resampler

SIGNIFICANT = 0.01
"""The canary looks again and again, so chance gets one look in a hundred."""

MANY_FLIPS = 0.1
MEAN_MOVED = 0.05
COVERAGE_FELL = 0.05


@dataclass(frozen=True, slots=True)
class Read:
    """One labelled comparison: what people say, and P(first is better) by the judge, None where it has none."""

    prompt_id: str
    outcome: float
    probability: float | None


class Drift(BaseModel):
    """A judge now against its baseline. Differences are now less then."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    compared: Count = Field(description="Comparisons that were answered both times")
    flipped: Measured | None = Field(description="Share of these whose preferred side is another one now")
    became_right: Count = Field(description="Of what people decided: wrong then, right now")
    became_wrong: Count
    mcnemar_p: Share = Field(description="Exact McNemar test: how likely so uneven a change is by chance")
    accuracy: Measured | None = Field(description="Difference of accuracy, by a paired bootstrap over prompts")
    probability_moved: Measured | None = Field(description="Mean |difference| of P(first is better)")
    towards_people: Measured | None = Field(description="Mean difference of the probability of people's side")
    coverage: Annotated[float, Field(ge=-1, le=1)] = Field(description="Difference of the share that has an answer")
    reasons: tuple[str, ...]
    drifted: bool


def measure_drift(before: Mapping[str, Read], now: Mapping[str, Read], *, seed: int, samples: int) -> Drift:
    """Comparisons are matched by key; those that one side lacks count for nothing."""
    shared = [(before[key], now[key]) for key in sorted(before.keys() & now.keys())]
    both = [(then, later) for then, later in shared if None not in (then.probability, later.probability)]
    prompts, resampler = [then.prompt_id for then, _ in both], Resampler(seed, samples)
    outcomes = np.array([then.outcome for then, _ in both])
    old, new = (np.array([_half(side[place]) for side in both]) for place in (0, 1))
    decided = outcomes != 0.5
    right_then, right_now = correctness(old, outcomes), correctness(new, outcomes)
    ups, downs = _better(right_now, right_then, decided), _better(right_then, right_now, decided)
    figures = Drift(
        compared=len(both),
        flipped=resampler.mean(prompts, [float(lean(a) is not lean(b)) for a, b in zip(old, new, strict=True)]),
        became_right=ups,
        became_wrong=downs,
        mcnemar_p=sign_test(ups, downs),
        accuracy=resampler.mean(prompts, np.where(decided, right_now - right_then, np.nan)),
        probability_moved=resampler.mean(prompts, np.abs(new - old)),
        towards_people=resampler.mean(prompts, np.where(decided, (new - old) * np.sign(outcomes - 0.5), np.nan)),
        coverage=_coverage([later for _, later in shared]) - _coverage([then for then, _ in shared]),
        reasons=(),
        drifted=False,
    )
    reasons = tuple(_reasons(figures))
    return figures.model_copy(update={"reasons": reasons, "drifted": bool(reasons)})


def _reasons(drift: Drift) -> Iterator[str]:
    if drift.mcnemar_p < SIGNIFICANT:
        yield (
            f"{drift.became_wrong} answers became wrong and {drift.became_right} right: by chance with p = "
            f"{drift.mcnemar_p:.2g}, below {SIGNIFICANT}"
        )
    if drift.flipped is not None and drift.flipped.low > MANY_FLIPS:
        yield f"{drift.flipped.value:.1%} of the answers changed sides, surely more than {MANY_FLIPS:.0%}"
    if drift.towards_people is not None and _surely_beyond(drift.towards_people, MEAN_MOVED):
        yield (
            f"the probability of people's side moved by {drift.towards_people.value:+.3f} on average, surely more than "
            f"{MEAN_MOVED}"
        )
    if drift.coverage < -COVERAGE_FELL:
        yield f"the share of comparisons with an answer fell by {-drift.coverage:.1%}, more than {COVERAGE_FELL:.0%}"
    if drift.compared == 0:
        yield "no comparison was answered both times: nothing says that it is the same judge"


def _surely_beyond(figure: Measured, limit: float) -> bool:
    return figure.low > limit or figure.high < -limit


def _better(right: Floats, than: Floats, decided: Floats) -> int:
    """On how many of the decided comparisons."""
    return int(((right > than) & (decided > 0)).sum())


def _half(read: Read) -> float:
    return 0.5 if read.probability is None else read.probability


def _coverage(reads: Sequence[Read]) -> float:
    return sum(read.probability is not None for read in reads) / len(reads) if reads else 0.0
