"""Preferences as the stages read them: what may be trained on, and what became of everything."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session, aliased

from app.db.models import Comparison, Completion, Preference, Prompt, Split
from app.rlaif.pair_quality import BelievedPair
from app.rlaif.preferences import DropReason

PAIRS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class TrainablePreference:
    """A kept preference with its texts. `unit` names it by its prompt and completions, the same in every run."""

    unit: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    first: str
    second: str
    probability: float
    weight: float


@dataclass(frozen=True, slots=True)
class Believed:
    """Counts over one run's preferences of one round."""

    kept: int
    dropped: dict[str, int]
    ties: int
    mean_margin: float | None


def trainable_preferences(session: Session, run_id: str, *, round_: int, split: Split) -> Iterator[TrainablePreference]:
    """What was not dropped, by prompt and completions: an order that does not depend on ids."""
    first, second = aliased(Completion), aliased(Completion)
    query = (
        select(
            Prompt.external_id,
            first.position.label("first_position"),
            second.position.label("second_position"),
            Prompt.messages,
            Prompt.tools,
            first.text.label("first"),
            second.text.label("second"),
            Preference.probability,
            Preference.weight,
        )
        .join(Comparison, Comparison.id == Preference.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(first, first.id == Comparison.first_id)
        .join(second, second.id == Comparison.second_id)
        .where(
            Preference.run_id == run_id,
            Preference.round == round_,
            Preference.split == split,
            Preference.drop_reason.is_(None),
        )
        .order_by(Prompt.position, first.position, second.position)
    )
    for row in session.execute(query):
        yield TrainablePreference(
            unit=f"{row.external_id}/{row.first_position}/{row.second_position}",
            messages=row.messages,
            tools=row.tools,
            first=row.first,
            second=row.second,
            probability=row.probability,
            weight=row.weight,
        )


def believed(session: Session, run_id: str, *, round_: int, tie_margin: float) -> Believed:
    """`ties` counts what was kept with |2p - 1| below `tie_margin`."""
    margin = func.abs(2 * Preference.probability - 1)
    rows = session.execute(
        select(
            Preference.drop_reason,
            func.count(),
            func.sum(case((margin < tie_margin, 1), else_=0)),
            func.avg(margin),
        )
        .where(Preference.run_id == run_id, Preference.round == round_)
        .group_by(Preference.drop_reason)
    ).all()
    dropped = {reason: count for reason, count, _, _ in rows if reason is not None}
    kept, ties, mean_margin = next(((row[1], row[2], row[3]) for row in rows if row[0] is None), (0, 0, None))
    return Believed(kept, dropped, int(ties), mean_margin)


def believed_pairs(session: Session, run_id: str, *, round_: int) -> Iterator[BelievedPair]:
    """The train split's pairs, dropped ones too, by prompt and completions, without holding them all in memory."""
    first, second = aliased(Completion), aliased(Completion)
    query = (
        select(
            Prompt.external_id,
            Prompt.messages,
            Prompt.cohort,
            first.text.label("first"),
            second.text.label("second"),
            Preference.probability,
            Preference.provenance,
            Preference.drop_reason,
        )
        .join(Comparison, Comparison.id == Preference.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(first, first.id == Comparison.first_id)
        .join(second, second.id == Comparison.second_id)
        .where(Preference.run_id == run_id, Preference.round == round_, Preference.split == Split.TRAIN)
        .order_by(Prompt.position, first.position, second.position)
        .execution_options(yield_per=PAIRS_AT_ONCE)
    )
    for row in session.execute(query):
        yield BelievedPair(
            prompt_id=row.external_id,
            prompt=json.dumps(row.messages, ensure_ascii=False),
            cohort=row.cohort,
            first=row.first,
            second=row.second,
            probability=row.probability,
            consistent=row.provenance.get("consistent"),
            drop_reason=None if row.drop_reason is None else DropReason(row.drop_reason),
        )


@dataclass(frozen=True, slots=True)
class Signal:
    """Of the train prompts' comparisons: how many were kept, how many of these prefer a side and have weight, and why
    the others were dropped."""

    kept: int
    decided: int
    dropped: dict[str, int]

    @property
    def comparisons(self) -> int:
        return self.kept + sum(self.dropped.values())


def training_signal(session: Session, run_id: str, *, round_: int) -> Signal:
    decided = (Preference.probability != 0.5) & (Preference.weight > 0)
    rows = session.execute(
        select(Preference.drop_reason, func.count(), func.count().filter(decided))
        .where(Preference.run_id == run_id, Preference.round == round_, Preference.split == Split.TRAIN)
        .group_by(Preference.drop_reason)
    ).all()
    kept = {reason: (count, deciding) for reason, count, deciding in rows}.get(None, (0, 0))
    return Signal(*kept, {reason: count for reason, count, _ in rows if reason is not None})
