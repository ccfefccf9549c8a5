"""What judges said of a run's comparisons, as routing reads it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import AnnotationItem, Comparison, Preference, Purpose, Run
from app.repositories.results import Provenance
from app.repositories.run_inputs import asked_ids
from app.repositories.units import among
from app.repositories.verdicts import VerdictRow, verdicts_of
from app.rlaif.beliefs import order_means
from app.rlaif.preferences import DropReason
from app.rlaif.recipe import StageKind
from app.rlaif.routing import JudgedComparison

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Judging:
    """Where verdicts lie: the run that judged, who was asked, for which purposes; and the run that put some aside.

    `rounds` are those of another run that count; None for all of the run's own.
    """

    run_id: str
    rounds: tuple[int, ...] | None
    judge_ids: tuple[str, ...]
    purposes: frozenset[Purpose]
    preferred_in: str


def judgings(session: Session, provenance: Provenance, purposes: Collection[Purpose]) -> list[Judging]:
    """Training verdicts are those of whoever judged each round; an evaluation's are the run's own, by its own judge."""
    own = session.get_one(Run, provenance.run_id)
    labelling, measuring = frozenset(purposes) - {Purpose.EVALUATION}, frozenset(purposes) & {Purpose.EVALUATION}
    found = [
        Judging(own.id, None, asked_ids(session, own.judge_id), labelling, own.id),
        Judging(own.id, None, asked_ids(session, own.evaluation_judge_id), measuring, own.id),
    ]
    for source, rounds in provenance.elsewhere(StageKind.JUDGE).items():
        judge_ids = asked_ids(session, session.get_one(Run, source).judge_id)
        preferred_in = provenance.executor(StageKind.PREFER, round_=rounds[0])
        found.append(Judging(source, tuple(rounds), judge_ids, labelling, preferred_in))
    return [each for each in found if each.purposes]


def judged_comparisons(
    session: Session, judgings: Iterable[Judging], *, without_queue: str
) -> Iterator[JudgedComparison]:
    """The comparisons that somebody was asked about and the queue does not hold."""
    for judging in judgings:
        for ids in _comparison_ids(session, judging, without_queue):
            verdicts = verdicts_of(session, judging.run_id, judge_ids=judging.judge_ids, comparison_ids=ids)
            aside = _put_aside(session, judging.preferred_in, ids)
            for id_ in ids:
                if rows := verdicts.get(id_):
                    yield JudgedComparison(id_, _orders(rows), id_ in aside)


def prompt_ids(session: Session, comparison_ids: Collection[str]) -> dict[str, str]:
    """By comparison id."""
    query = select(Comparison.id, Comparison.prompt_id).where(among(Comparison.id, comparison_ids))
    return {row.id: row.prompt_id for row in session.execute(query)}


def _comparison_ids(session: Session, judging: Judging, without_queue: str) -> Iterator[list[str]]:
    held = select(AnnotationItem.id).where(
        AnnotationItem.queue_id == without_queue, AnnotationItem.comparison_id == Comparison.id
    )
    query = (
        select(Comparison.id)
        .where(Comparison.run_id == judging.run_id, Comparison.purpose.in_(judging.purposes), ~held.exists())
        .order_by(Comparison.id)
        .limit(_AT_ONCE)
    )
    if judging.rounds is not None:
        query = query.where(Comparison.round.in_(judging.rounds))
    after = ""
    while ids := list(session.scalars(query.where(Comparison.id > after))):
        yield ids
        after = ids[-1]


def _orders(rows: Iterable[VerdictRow]) -> dict[str, list[float]]:
    by_judge = groupby((row.answered for row in rows), key=lambda verdict: verdict.judge_id)
    return {judge: list(order_means(given).values()) for judge, given in by_judge}


def _put_aside(session: Session, run_id: str, comparison_ids: Collection[str]) -> set[str]:
    query = select(Preference.comparison_id).where(
        Preference.run_id == run_id,
        among(Preference.comparison_id, comparison_ids),
        Preference.drop_reason == DropReason.AWAITS_PEOPLE,
    )
    return set(session.scalars(query))
