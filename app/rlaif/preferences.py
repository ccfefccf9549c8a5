"""What is believed of a comparison once all its verdicts are in.

INVALID is missing: it is counted and never averaged. A judge counts only when it answered in both orders, since one
order alone carries that judge's position bias uncancelled; a comparison that has no such judge is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from app.rlaif.beliefs import Belief, beliefs_of
from app.rlaif.blending import Blended
from app.rlaif.comparison import Answer, Verdict
from app.rlaif.instruments import EQUAL_VOTES, Instrument
from app.rlaif.sections import PreferConfig

TIE_MARGIN = 0.1
"""A pair with |2p - 1| below this is believed to be a tie and gets the recipe's tie_weight."""


class DropReason(StrEnum):
    """Why a comparison teaches nothing."""

    NO_VALID_VERDICT = "no_valid_verdict"
    ONE_ORDER = "one_order"
    UNDECIDED = "undecided"
    AWAITS_PEOPLE = "awaits_people"
    INCONSISTENT = "inconsistent"
    BELOW_MARGIN = "below_margin"
    IDENTICAL = "identical"
    IDENTICAL_AFTER_TRUNCATION = "identical_after_truncation"


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """How often each answer was given, in the comparison's own numbering."""

    a: int = 0
    b: int = 0
    tie: int = 0
    invalid: int = 0

    def swap(self) -> AnswerCounts:
        return replace(self, a=self.b, b=self.a)


@dataclass(frozen=True, slots=True)
class Preference:
    """P(first is better) in [0, 1], its weight in training, and the answers behind it.

    `consistent` says whether every judge leaned the same way in both orders. With a `drop_reason` nothing is trained
    on it; `probability` is None where no judge answered in both orders and no person stands in. `blended` is None
    where the recipe names no people.
    """

    probability: float | None
    weight: float
    consistent: bool | None
    answers: AnswerCounts
    judges: tuple[str, ...] = ()
    drop_reason: DropReason | None = None
    blended: Blended | None = None

    @property
    def is_tie(self) -> bool:
        """Whether it is believed that neither is better."""
        return self.probability is not None and _margin(self.probability) < TIE_MARGIN

    def swap(self) -> Preference:
        probability = None if self.probability is None else 1.0 - self.probability
        blended = None if self.blended is None else self.blended.swap()
        return replace(self, probability=probability, answers=self.answers.swap(), blended=blended)


def aggregate(verdicts: Iterable[Verdict], config: PreferConfig, *, instrument: Instrument = EQUAL_VOTES) -> Preference:
    """The preference that one comparison's verdicts support: beliefs by judge, read by the instrument.

    The result does not depend on the verdicts' order, to the last bit.
    """
    seen = tuple(verdicts)
    answers = count_answers(seen)
    beliefs = beliefs_of(seen)
    probability = instrument.probability(beliefs)
    if probability is None:
        return Preference(None, 0.0, None, answers, drop_reason=_missing(answers, seen, beliefs))
    consistent = all(belief.consistent for belief in beliefs.values())
    reason = _too_weak(probability, consistent, config)
    return Preference(probability, _weight(probability, reason, config), consistent, answers, tuple(beliefs), reason)


def heed(preference: Preference, blended: Blended, config: PreferConfig) -> Preference:
    """The preference once people are heard. Where they have a part in it, what the judge lacked no longer counts:
    only the margin of what is believed now can drop it."""
    probability = blended.probability
    if not blended.heeded or probability is None:
        return replace(preference, blended=blended)
    reason = _too_weak(probability, True, config)
    weight = _weight(probability, reason, config)
    return replace(preference, probability=probability, weight=weight, drop_reason=reason, blended=blended)


def count_answers(verdicts: Iterable[Verdict]) -> AnswerCounts:
    return answer_counts([verdict.answer for verdict in verdicts])


def answer_counts(given: Sequence[Answer]) -> AnswerCounts:
    return AnswerCounts(*(given.count(answer) for answer in (Answer.A, Answer.B, Answer.TIE, Answer.INVALID)))


def identity(
    prompt: Sequence[int], first: Sequence[int], second: Sequence[int], *, max_length: int
) -> DropReason | None:
    """Whether two completions, as token ids, are the same, whole or cut to `max_length` tokens with their prompt.

    7 % of UltraFeedback's pairs are identical at 512 tokens: trained on, they are noise.
    """
    if first == second:
        return DropReason.IDENTICAL
    room = max(max_length - len(prompt), 0)
    return DropReason.IDENTICAL_AFTER_TRUNCATION if first[:room] == second[:room] else None


def _missing(answers: AnswerCounts, seen: Sequence[Verdict], beliefs: Mapping[str, Belief]) -> DropReason:
    """Why there is no probability. Beliefs that decide nothing are those of a cascade that was not sure."""
    if beliefs:
        return DropReason.UNDECIDED
    return DropReason.NO_VALID_VERDICT if answers.invalid == len(seen) else DropReason.ONE_ORDER


def _too_weak(probability: float, consistent: bool, config: PreferConfig) -> DropReason | None:
    if config.inconsistent == "drop" and not consistent:
        return DropReason.INCONSISTENT
    return DropReason.BELOW_MARGIN if _margin(probability) < config.minimum_margin else None


def _weight(probability: float, reason: DropReason | None, config: PreferConfig) -> float:
    if reason is not None:
        return 0.0
    return config.tie_weight if _margin(probability) < TIE_MARGIN else 1.0


def _margin(probability: float) -> float:
    return abs(2 * probability - 1)
