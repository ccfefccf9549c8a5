"""How sure a judge must be for its answer to be taken: the least confidence at which it errs rarely enough.

Only the errors of what is accepted count, as in selective classification with guaranteed risk (Geifman and El-Yaniv,
arXiv 1705.08500) and in cascades of judges (Jung et al., "Trust or Escalate", arXiv 2407.18370).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.rlaif.binomial import upper_bound
from app.rlaif.instruments import Calibrated, Cascade, Step, Then, confidence
from app.rlaif.labelled import Labelled
from app.rlaif.logistic import Floats

CONFIDENCE = 0.9
"""How surely all thresholds of a cascade keep their promise at once."""

LOOKS = 20
"""At most so many thresholds are looked at for each step; each look takes its part of what may go wrong."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """The least confidence that decides, and the upper bound of the error rate of what it decides."""

    confidence: float
    bound: float


def safe_threshold(
    confidences: Floats, wrong: Sequence[bool], *, maximum_risk: float, error_probability: float
) -> Threshold | None:
    """The lowest threshold whose accepted answers are wrong at a rate of at most `maximum_risk`; None without one.

    `confidences` is (n,), of independent comparisons. Thresholds are quantiles of the confidences, chosen without
    looking at an error; each has a Clopper-Pearson bound at `error_probability` / their number (Bonferroni), so that
    the chance that any of them is too low is at most `error_probability`.
    """
    if len(confidences) == 0:
        return None
    errors = np.asarray(wrong, dtype=bool)
    looks = np.unique(np.quantile(confidences, np.arange(LOOKS) / LOOKS, method="lower"))
    for look in looks.tolist():
        accepted = confidences >= look
        bound = upper_bound(
            int(errors[accepted].sum()), int(accepted.sum()), error_probability=error_probability / len(looks)
        )
        if bound <= maximum_risk:
            return Threshold(look, bound)
    return None


def fit_cascade(
    labelled: Sequence[Labelled], judges: Sequence[Calibrated], *, maximum_risk: float, then: Then
) -> tuple[Cascade, tuple[float | None, ...]]:
    """Thresholds step by step, each on what the steps before leave open, and the bound of each step's error rate.

    What people find equal cannot be wrong, and a judge that takes no side decides nothing. Of a prompt's comparisons
    one is looked at, since they are not independent.
    """
    steps: list[Step] = []
    bounds: list[float | None] = []
    open_: list[Labelled] = list({each.prompt_id: each for each in reversed(labelled)}.values())
    for judge in judges:
        answered = [(each, p) for each in open_ if (p := judge.probability(each.beliefs)) is not None and p != 0.5]
        found = safe_threshold(
            np.array([confidence(p) for _, p in answered]),
            [(p - 0.5) * (each.outcome - 0.5) < 0 for each, p in answered],
            maximum_risk=maximum_risk,
            error_probability=(1 - CONFIDENCE) / len(judges),
        )
        step = Step(judge, None if found is None else found.confidence)
        steps.append(step)
        bounds.append(None if found is None else found.bound)
        open_ = [each for each in open_ if not step.decides(judge.probability(each.beliefs))]
    return Cascade(tuple(steps), then), tuple(bounds)
