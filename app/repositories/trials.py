"""What a trial's judges answered, whole: trials are small, so their rows are read at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import RubricRevision, Score, Verdict
from app.repositories.runs import RunRow
from app.rlaif import comparison as domain
from app.rlaif.golden import GoldenExample
from app.rlaif.golden_outcome import Outcome
from app.rlaif.questions import Side
from app.rlaif.rendering import ChatMessages


@dataclass(frozen=True, slots=True)
class TriedAnswer:
    """A verdict, and the messages that asked for it; None where no model was asked, or they cannot be shown.

    `swapped` says that the run's own numbering is the other way round than the pair's.
    """

    verdict: Verdict
    swapped: bool
    messages: ChatMessages | None

    @property
    def own(self) -> domain.Verdict:
        """The verdict in the pair's numbering."""
        row = self.verdict
        verdict = domain.Verdict(
            row.judge_id, row.order, row.answer, row.probability, row.repeat, row.criterion, row.weight
        )
        return verdict.swap() if self.swapped else verdict


@dataclass(frozen=True, slots=True)
class TriedRating:
    """A rating of one of the two responses, and the messages that asked for it."""

    score: Score
    side: Side
    messages: ChatMessages | None


@dataclass(frozen=True, slots=True)
class TriedPair:
    """One pair and what was answered. `probability` is P(first is better) after both orders, as a run would believe.

    `golden` where it is a golden example, and `outcome` once it has been answered.
    """

    golden: GoldenExample | None
    principle: str | None = None
    probability: float | None = None
    answers: tuple[TriedAnswer, ...] = ()
    ratings: tuple[TriedRating, ...] = ()
    outcome: Outcome | None = None


@dataclass(frozen=True, slots=True)
class Trial:
    run: RunRow
    revision: RubricRevision
    pairs: tuple[TriedPair, ...]

    @property
    def is_test(self) -> bool:
        return any(pair.golden for pair in self.pairs)


def verdicts(session: Session, run_id: str) -> Sequence[Verdict]:
    """By comparison, then judge, order, repeat and criterion."""
    query = select(Verdict).where(Verdict.run_id == run_id)
    by_unit = (Verdict.comparison_id, Verdict.judge_id, Verdict.order, Verdict.repeat, Verdict.criterion)
    return session.scalars(query.order_by(*by_unit)).all()


def scores(session: Session, run_id: str) -> Sequence[Score]:
    """By completion, then judge, order and repeat."""
    query = select(Score).where(Score.run_id == run_id)
    return session.scalars(query.order_by(Score.completion_id, Score.judge_id, Score.order, Score.repeat)).all()
