"""What a run produced, as keyset pages. A reused stage's rows are read from the run that executed it.

Every query is a range of the index (run_id, id); a run that reuses stages reads one such range of each source run
and merges them, so that a page never sorts more than itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import ColumnElement, Row, Select, select
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from app.db.models import (
    Checkpoint,
    Comparison,
    Completion,
    CompletionSource,
    Evaluation,
    Preference,
    Prompt,
    Purpose,
    Score,
    Split,
    Verdict,
)
from app.repositories.pages import Chunk, Slice, chunk
from app.rlaif.comparison import Answer
from app.rlaif.points import HALF_RANGE, MIDDLE
from app.rlaif.recipe import StageKind

# SQLAlchemy types a statement by its columns; here a row is read by their names.
Query: TypeAlias = Select[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Provenance:
    """A run, and which other runs executed the stages that it reuses."""

    run_id: str
    reused: Mapping[StageKind, str]

    def executor(self, *kinds: StageKind) -> str:
        """The run that executed the first of these stages that is reused; without one, the run itself."""
        return next((self.reused[kind] for kind in kinds if kind in self.reused), self.run_id)


@dataclass(frozen=True, slots=True)
class CompletionFilter:
    split: Split | None = None
    source: CompletionSource | None = None


@dataclass(frozen=True, slots=True)
class VerdictFilter:
    purpose: Purpose | None = None
    judge_id: str | None = None
    answer: Answer | None = None


@dataclass(frozen=True, slots=True)
class PreferenceFilter:
    split: Split | None = None
    include_dropped: bool = False


def completions(session: Session, provenance: Provenance, where: CompletionFilter, slice_: Slice) -> Chunk[Row[Any]]:
    query = select(*Completion.__table__.columns)
    if where.split is not None:
        query = query.where(Completion.split == where.split)
    if where.source is not None:
        query = query.where(Completion.source == where.source)
    sampled = Completion.source != CompletionSource.POLICY
    parts = _parts(provenance, StageKind.SAMPLE, run_id=Completion.run_id, labelled=sampled)
    return _merged(session, [query.where(*part) for part in parts], slice_, by=Completion.id)


def comparisons(session: Session, provenance: Provenance, purpose: Purpose | None, slice_: Slice) -> Chunk[Row[Any]]:
    query = select(*Comparison.__table__.columns)
    if purpose is not None:
        query = query.where(Comparison.purpose == purpose)
    labelled = Comparison.purpose != Purpose.EVALUATION
    parts = _parts(provenance, StageKind.JUDGE, StageKind.PREFER, run_id=Comparison.run_id, labelled=labelled)
    return _merged(session, [query.where(*part) for part in parts], slice_, by=Comparison.id)


def verdicts(session: Session, provenance: Provenance, where: VerdictFilter, slice_: Slice) -> Chunk[Row[Any]]:
    query = select(*Verdict.__table__.columns, Comparison.purpose)
    query = query.join(Comparison, Comparison.id == Verdict.comparison_id)
    if where.purpose is not None:
        query = query.where(Comparison.purpose == where.purpose)
    if where.judge_id is not None:
        query = query.where(Verdict.judge_id == where.judge_id)
    if where.answer is not None:
        query = query.where(Verdict.answer == where.answer)
    labelled = Comparison.purpose != Purpose.EVALUATION
    parts = _parts(provenance, StageKind.JUDGE, run_id=Verdict.run_id, labelled=labelled)
    return _merged(session, [query.where(*part) for part in parts], slice_, by=Verdict.id)


def scores(session: Session, provenance: Provenance, judge_id: str | None, slice_: Slice) -> Chunk[Row[Any]]:
    query = select(*Score.__table__.columns, ((Score.points - MIDDLE) / HALF_RANGE).label("score"))
    if judge_id is not None:
        query = query.where(Score.judge_id == judge_id)
    source = provenance.executor(StageKind.JUDGE)
    return _merged(session, [query.where(Score.run_id == source)], slice_, by=Score.id)


def preferences(session: Session, provenance: Provenance, where: PreferenceFilter, slice_: Slice) -> Chunk[Row[Any]]:
    query = select(*Preference.__table__.columns, Comparison.prompt_id, Comparison.first_id, Comparison.second_id)
    query = query.join(Comparison, Comparison.id == Preference.comparison_id)
    return _merged(session, [_preferred(query, provenance, where)], slice_, by=Preference.id)


def preference_texts(
    session: Session, provenance: Provenance, where: PreferenceFilter, slice_: Slice
) -> Chunk[Row[Any]]:
    """Preferences with the prompt's messages and tools and both completions' texts."""
    first, second = aliased(Completion), aliased(Completion)
    query = (
        select(
            Preference.id,
            Preference.probability,
            Preference.weight,
            Prompt.messages,
            Prompt.tools,
            first.text.label("first"),
            second.text.label("second"),
            first.turns.label("first_turns"),
            second.turns.label("second_turns"),
        )
        .join(Comparison, Comparison.id == Preference.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(first, first.id == Comparison.first_id)
        .join(second, second.id == Comparison.second_id)
    )
    return _merged(session, [_preferred(query, provenance, where)], slice_, by=Preference.id)


def checkpoints(session: Session, provenance: Provenance) -> list[Checkpoint]:
    """A run's own and those of the training stages that it reuses, in the order of their making."""
    query = select(Checkpoint).where(Checkpoint.run_id.in_(_trainers(provenance)))
    return list(session.scalars(query.order_by(Checkpoint.id)))


def _trainers(provenance: Provenance) -> set[str]:
    return {provenance.run_id, provenance.executor(StageKind.REWARD_MODEL), provenance.executor(StageKind.POLICY)}


def checkpoint(session: Session, project_id: str, checkpoint_id: str) -> Checkpoint | None:
    query = select(Checkpoint).where(Checkpoint.project_id == project_id, Checkpoint.id == checkpoint_id)
    return session.scalar(query)


def checkpoint_page(
    session: Session, project_id: str, slice_: Slice, *, provenance: Provenance | None
) -> Chunk[Checkpoint]:
    """Newest first; with `provenance`, only what `checkpoints` gives."""
    query = select(Checkpoint).where(Checkpoint.project_id == project_id)
    if provenance is not None:
        query = query.where(Checkpoint.run_id.in_(_trainers(provenance)))
    return chunk(session, query, slice_, by=Checkpoint.id, newest_first=True)


def evaluations(session: Session, run_id: str) -> list[Evaluation]:
    return list(session.scalars(select(Evaluation).where(Evaluation.run_id == run_id).order_by(Evaluation.id)))


def evaluations_of(session: Session, checkpoint_id: str) -> list[Evaluation]:
    """Of one checkpoint, by whichever run and judge."""
    query = select(Evaluation).where(Evaluation.checkpoint_id == checkpoint_id)
    return list(session.scalars(query.order_by(Evaluation.id)))


def _preferred(query: Query, provenance: Provenance, where: PreferenceFilter) -> Query:
    query = query.where(Preference.run_id == provenance.executor(StageKind.PREFER))
    if where.split is not None:
        query = query.where(Preference.split == where.split)
    return query if where.include_dropped else query.where(Preference.drop_reason.is_(None))


def _parts(
    provenance: Provenance, *kinds: StageKind, run_id: InstrumentedAttribute[str], labelled: ColumnElement[bool]
) -> list[tuple[ColumnElement[bool], ...]]:
    """The conditions of each range: what the source run made in its training stages, and all that is the run's own."""
    source = provenance.executor(*kinds)
    own = (run_id == provenance.run_id,)
    return [own] if source == provenance.run_id else [(run_id == source, labelled), own]


def _merged(
    session: Session, queries: Sequence[Query], slice_: Slice, *, by: InstrumentedAttribute[str]
) -> Chunk[Row[Any]]:
    rows: list[Row[Any]] = []
    for query in queries:
        if slice_.after is not None:
            query = query.where(by > slice_.after)
        rows += session.execute(query.order_by(by).limit(slice_.limit + 1))
    rows.sort(key=lambda row: row.id)
    kept = tuple(rows[: slice_.limit])
    return Chunk(kept, len(rows) > slice_.limit, kept[-1].id if kept else None)
