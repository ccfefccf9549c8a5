"""How often trajectories succeed, how reliably, and how far a judge agrees with what is known of them.

A trajectory without both ratings is missing: it is counted, and is never a failure. pass^k is tau-bench's (arXiv
2406.12045): the chance that k trials of a task by one author all succeed, C(c, k) / C(n, k), averaged over tasks.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TypeVar

import numpy as np

from app.rlaif.agreement import AnsweredTwice, accuracy, cohens_kappa, measured
from app.rlaif.comparison import Answer
from app.rlaif.measured import Measured
from app.rlaif.resampling import Resampler
from app.rlaif.significance import holm, sign_flip_test
from app.rlaif.trajectory_evidence import (
    AuthorDifference,
    AuthorSuccess,
    GoldFigures,
    PassHat,
    Success,
    TrajectorySuccess,
)

_PARTS = 120
"""A task is divided into so many parts for the exact test: shares of 1 to 6, 8, 10 or 12 trials are whole numbers."""

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Trial:
    """One trajectory: who made it, whether the judge found it a success and whether it is known to be one.

    `succeeded` is None where a rating is missing, `known` where nobody has said.
    """

    prompt: str
    cohort: str
    author: str | None
    succeeded: bool | None
    known: bool | None


def success(ratings: Sequence[float | None], *, threshold: float) -> bool | None:
    """Whether the mean of a trajectory's ratings, one a presentation, reaches the threshold; None if any is missing."""
    known = [points for points in ratings if points is not None]
    if not ratings or len(known) < len(ratings):
        return None
    return math.fsum(known) / len(known) >= threshold


def trajectory_success(trials: Sequence[Trial], *, resampler: Resampler) -> TrajectorySuccess:
    """Every figure, over all trials, by author and by cohort. The trials' order changes nothing."""
    trials = sorted(trials, key=_place)
    by_author = _grouped(trials, lambda trial: trial.author)
    return TrajectorySuccess(
        overall=_figures(trials, None, resampler),
        authors=[_figures(found, author, resampler) for author, found in by_author],
        differences=_differences(by_author, resampler),
    )


def pass_hats(outcomes: Sequence[tuple[Trial, bool]], *, resampler: Resampler) -> list[PassHat]:
    """pass^k of given outcomes for every k that any task was tried so often; a task is one author's of one prompt."""
    tasks = [
        (prompt, [outcome for _, outcome in found])
        for (prompt, _), found in _grouped(outcomes, lambda each: (each[0].prompt, each[0].author))
    ]
    most = max((len(tried) for _, tried in tasks), default=0)
    return [_pass_hat(tasks, k, resampler) for k in range(1, most + 1)]


def _pass_hat(tasks: Sequence[tuple[str, Sequence[bool]]], k: int, resampler: Resampler) -> PassHat:
    tried = [(prompt, outcomes) for prompt, outcomes in tasks if len(outcomes) >= k]
    values = [math.comb(sum(outcomes), k) / math.comb(len(outcomes), k) for _, outcomes in tried]
    value = _required(resampler.mean([prompt for prompt, _ in tried], values))
    return PassHat(k=k, value=value, left_out=len(tasks) - len(tried))


def _figures(trials: Sequence[Trial], author: str | None, resampler: Resampler) -> AuthorSuccess:
    judged = [(trial, trial.succeeded) for trial in trials if trial.succeeded is not None]
    return AuthorSuccess(
        author=author,
        success=_success(trials, resampler),
        by_cohort={
            cohort: _success(found, resampler) for cohort, found in sorted(_grouped(trials, lambda each: each.cohort))
        },
        pass_hat=pass_hats(judged, resampler=resampler),
        gold=_gold(trials, resampler),
    )


def _success(trials: Sequence[Trial], resampler: Resampler) -> Success:
    judged = [(trial.prompt, float(trial.succeeded)) for trial in trials if trial.succeeded is not None]
    return Success(
        rate=resampler.mean([prompt for prompt, _ in judged], [value for _, value in judged]) if judged else None,
        trajectories=len(trials),
        prompts=len({trial.prompt for trial in trials}),
        missing=len(trials) - len(judged),
    )


def _gold(trials: Sequence[Trial], resampler: Resampler) -> GoldFigures | None:
    """Over the trials that are judged and known; None without any."""
    both = [
        (trial, trial.succeeded, trial.known)
        for trial in trials
        if trial.succeeded is not None and trial.known is not None
    ]
    if not both:
        return None
    pairs = [AnsweredTwice(trial.prompt, _side(known), _side(judged)) for trial, judged, known in both]
    return GoldFigures(
        accuracy=measured(accuracy, pairs, resampler),
        kappa=measured(cohens_kappa, pairs, resampler),
        false_successes=sum(judged and not known for _, judged, known in both),
        false_failures=sum(known and not judged for _, judged, known in both),
        judged_pass_hat=pass_hats([(trial, judged) for trial, judged, _ in both], resampler=resampler),
        known_pass_hat=pass_hats([(trial, known) for trial, _, known in both], resampler=resampler),
    )


def _differences(
    by_author: Sequence[tuple[str | None, Sequence[Trial]]], resampler: Resampler
) -> list[AuthorDifference]:
    """Of every two named authors that were tried on a prompt in common; p-values adjusted for their number."""
    shares = {author: _shares(found) for author, found in by_author if author is not None}
    pairs = [(one, other) for one, other in combinations(shares, 2) if shares[one].keys() & shares[other].keys()]
    p_values = {str(place): _p_value(shares[one], shares[other]) for place, (one, other) in enumerate(pairs)}
    adjusted = holm(p_values)
    return [
        AuthorDifference(
            first=one,
            second=other,
            difference=_difference(shares[one], shares[other], resampler),
            p_value=p_values[str(place)],
            holm_p_value=adjusted[str(place)],
        )
        for place, (one, other) in enumerate(pairs)
    ]


def _shares(trials: Iterable[Trial]) -> dict[str, float]:
    """By prompt, the share of its judged trials that succeeded."""
    judged = [trial for trial in trials if trial.succeeded is not None]
    return {
        prompt: float(np.mean([trial.succeeded for trial in found]))
        for prompt, found in _grouped(judged, lambda trial: trial.prompt)
    }


def _difference(first: dict[str, float], second: dict[str, float], resampler: Resampler) -> Measured:
    common = sorted(first.keys() & second.keys())
    return _required(resampler.mean(common, [first[prompt] - second[prompt] for prompt in common]))


def _p_value(first: dict[str, float], second: dict[str, float]) -> float:
    """The exact test wants whole numbers: shares are rounded to parts of a task, then counted in the largest unit."""
    leads = [round(_PARTS * (first[prompt] - second[prompt])) for prompt in first.keys() & second.keys()]
    part = math.gcd(*leads) or 1
    return sign_flip_test(lead // part for lead in leads)


def _grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> list[tuple[Key, list[Item]]]:
    """By key, in the order of each one's first item."""
    found: dict[Key, list[Item]] = defaultdict(list)
    for item in items:
        found[key(item)].append(item)
    return list(found.items())


def _place(trial: Trial) -> tuple[object, ...]:
    """Trials without an author first, then by author; equal ones cannot be told apart."""
    outcomes = tuple(-1 if outcome is None else int(outcome) for outcome in (trial.succeeded, trial.known))
    return (trial.author is not None, trial.author or "", trial.prompt, trial.cohort, *outcomes)


def _side(succeeded: bool) -> Answer:
    return Answer.A if succeeded else Answer.B


def _required(measured: Measured | None) -> Measured:
    if measured is None:
        raise ValueError("a mean over trials that are judged is a number")
    return measured
