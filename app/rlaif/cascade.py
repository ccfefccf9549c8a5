"""How sure a judge must be for its answer to be taken: the least confidence at which it errs rarely enough.

Only the errors of what is accepted count, as in selective classification with guaranteed risk (Geifman and El-Yaniv,
arXiv 1705.08500) and in cascades of judges (Jung et al., "Trust or Escalate", arXiv 2407.18370).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.rlaif.binomial import upper_bound
from app.rlaif.instruments import Calibrated, Cascade, Step, Then
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
    labelled: Sequence[Labelled],
    judges: Sequence[Calibrated],
    unseen: Sequence[Floats],
    *,
    maximum_risk: float,
    then: Then,
) -> tuple[Cascade, tuple[float | None, ...]]:
    """Thresholds step by step, each on what the steps before leave open, and the bound of each step's error rate.

    `unseen` has for each judge (n,) calibrated P(first is better), NaN for none, by maps fitted without the comparison:
    a map that has seen a label is surer of it than it will be of others, and a bound on such confidences too low.
    What people find equal cannot be wrong, and a judge that takes no side decides nothing. Of a prompt's comparisons
    one is looked at, since they are not independent.
    """
    steps: list[Step] = []
    bounds: list[float | None] = []
    outcomes = np.array([each.outcome for each in labelled])
    open_ = np.array(sorted({labelled[i].prompt_id: i for i in reversed(range(len(labelled)))}.values()), dtype=int)
    for judge, probabilities in zip(judges, unseen, strict=True):
        answered = open_[~np.isnan(probabilities[open_]) & (probabilities[open_] != 0.5)]
        sure = np.maximum(probabilities, 1 - probabilities)
        found = safe_threshold(
            sure[answered],
            ((probabilities[answered] - 0.5) * (outcomes[answered] - 0.5) < 0).tolist(),
            maximum_risk=maximum_risk,
            error_probability=(1 - CONFIDENCE) / len(judges),
        )
        steps.append(Step(judge, None if found is None else found.confidence))
        bounds.append(None if found is None else found.bound)
        if found is not None:
            open_ = open_[~(sure[open_] >= found.confidence)]
    return Cascade(tuple(steps), then), tuple(bounds)
