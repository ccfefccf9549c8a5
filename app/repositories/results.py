"""What a run produced, as keyset pages. A reused stage's rows are read from the run that executed it.

Every query is a range of the index (run_id, id); a run that reuses stages reads one such range of each source run
and merges them, so that a page never sorts more than itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Boolean, ColumnElement, Row, Select, and_, case, cast, func, or_, select, true
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from app.db.models import (
    Checkpoint,
    CheckpointKind,
    Comparison,
    Completion,
    CompletionSource,
    Evaluation,
    Preference,
    Prompt,
    Purpose,
    RevisedAnswer,
    Score,
    Split,
    Verdict,
)
from app.repositories.pages import Chunk, Slice, chunk
from app.rlaif.comparison import Answer, Order
from app.rlaif.points import HALF_RANGE, MIDDLE
from app.rlaif.recipe import StageKind

# SQLAlchemy types a statement by its columns; here a row is read by their names.
Query: TypeAlias = Select[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Provenance:
    """A run, and by round and stage which other runs executed what it reuses."""

    run_id: str
    reused: Mapping[tuple[int, StageKind], str]

    def executor(self, kind: StageKind, *, round_: int) -> str:
        """The run that executed a stage: another one, or the run itself."""
        return self.reused.get((round_, kind), self.run_id)

    def elsewhere(self, *kinds: StageKind) -> dict[str, list[int]]:
        """By another run, the rounds in which it executed the first of these stages that is reused."""
        found: dict[str, list[int]] = {}
        for round_ in sorted({round_ for round_, _ in self.reused}):
            sources = (self.reused[round_, kind] for kind in kinds if (round_, kind) in self.reused)
            if (source := next(sources, None)) is not None:
                found.setdefault(source, []).append(round_)
        return found


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
    return _completions(session, select(*Completion.__table__.columns), provenance, where, slice_)


def rewards(session: Session, provenance: Provenance, where: CompletionFilter, slice_: Slice) -> Chunk[Row[Any]]:
    """Of the same completions, with the ids that their prompts came with."""
    query = select(
        Completion.id,
        Completion.id.label("completion_id"),
        Completion.prompt_id,
        Prompt.external_id,
        Completion.split,
        Completion.source,
        Completion.position,
        Completion.reward,
        Completion.reward_spread,
    ).join(Prompt, Prompt.id == Completion.prompt_id)
    return _completions(session, query, provenance, where, slice_)


def trajectories(session: Session, run_id: str, slice_: Slice, *, evaluator: str, threshold: float) -> Chunk[Row[Any]]:
    """A run's imported completions with the mean of both ratings by one evaluator; None where one is missing."""
    points = (
        select(case((func.count(Score.points) == len(Order), func.avg(Score.points))))
        .where(Score.run_id == run_id, Score.completion_id == Completion.id, Score.evaluator == evaluator)
        .scalar_subquery()
    )
    query = (
        select(
            Completion.id,
            Completion.id.label("completion_id"),
            Completion.prompt_id,
            Prompt.external_id,
            Prompt.cohort,
            Completion.position,
            Prompt.authors[Completion.position].astext.label("author"),
            points.label("points"),
            (points >= threshold).label("succeeded"),
            cast(Prompt.outcomes[Completion.position].astext, Boolean).label("known"),
        )
        .join(Prompt, Prompt.id == Completion.prompt_id)
        .where(Completion.run_id == run_id, Completion.source == CompletionSource.IMPORTED)
    )
    return _merged(session, [query], slice_, by=Completion.id)


def _completions(
    session: Session, query: Query, provenance: Provenance, where: CompletionFilter, slice_: Slice
) -> Chunk[Row[Any]]:
    if where.split is not None:
        query = query.where(Completion.split == where.split)
    if where.source is not None:
        query = query.where(Completion.source == where.source)
    sampled = Completion.source != CompletionSource.POLICY
    parts = _parts(provenance, StageKind.SAMPLE, run_id=Completion.run_id, round_=Completion.round, labelled=sampled)
    return _merged(session, [query.where(*part) for part in parts], slice_, by=Completion.id)


def comparisons(session: Session, provenance: Provenance, purpose: Purpose | None, slice_: Slice) -> Chunk[Row[Any]]:
    query = select(*Comparison.__table__.columns)
    if purpose is not None:
        query = query.where(Comparison.purpose == purpose)
    labelled = Comparison.purpose != Purpose.EVALUATION
    made = (StageKind.JUDGE, StageKind.PREFER)
    parts = _parts(provenance, *made, run_id=Comparison.run_id, round_=Comparison.round, labelled=labelled)
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
    parts = _parts(provenance, StageKind.JUDGE, run_id=Verdict.run_id, round_=Comparison.round, labelled=labelled)
    return _merged(session, [query.where(*part) for part in parts], slice_, by=Verdict.id)


def scores(session: Session, provenance: Provenance, judge_id: str | None, slice_: Slice) -> Chunk[Row[Any]]:
    query = select(*Score.__table__.columns, ((Score.points - MIDDLE) / HALF_RANGE).label("score"))
    if judge_id is not None:
        query = query.where(Score.judge_id == judge_id)
    query = query.join(Completion, Completion.id == Score.completion_id)
    parts = _parts(provenance, StageKind.JUDGE, run_id=Score.run_id, round_=Completion.round, labelled=true())
    return _merged(session, [query.where(*part) for part in parts], slice_, by=Score.id)


def preferences(session: Session, provenance: Provenance, where: PreferenceFilter, slice_: Slice) -> Chunk[Row[Any]]:
    query = select(*Preference.__table__.columns, Comparison.prompt_id, Comparison.first_id, Comparison.second_id)
    query = query.join(Comparison, Comparison.id == Preference.comparison_id)
    return _merged(session, _preferred(query, provenance, where), slice_, by=Preference.id)


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
    return _merged(session, _preferred(query, provenance, where), slice_, by=Preference.id)


def revisions(session: Session, provenance: Provenance, split: Split | None, slice_: Slice) -> Chunk[Row[Any]]:
    """How a constitutional warm start changed answers."""
    source = provenance.executor(StageKind.WARM_START, round_=0)
    query = select(*RevisedAnswer.__table__.columns).where(RevisedAnswer.run_id == source)
    if split is not None:
        query = query.where(RevisedAnswer.split == split)
    return _merged(session, [query], slice_, by=RevisedAnswer.id)


def checkpoints(session: Session, provenance: Provenance) -> list[Checkpoint]:
    """A run's own and those of the training stages that it reuses, in the order of their making."""
    return list(session.scalars(select(Checkpoint).where(_published(provenance)).order_by(Checkpoint.id)))


def _published(provenance: Provenance) -> ColumnElement[bool]:
    """A run's own, and of the training stages that it reuses; a checkpoint's kind is called like its stage."""
    reused = (
        and_(Checkpoint.run_id == source, Checkpoint.round == round_, Checkpoint.kind == CheckpointKind(kind.value))
        for (round_, kind), source in provenance.reused.items()
        if kind.value in {each.value for each in CheckpointKind}
    )
    return or_(Checkpoint.run_id == provenance.run_id, *reused)


def checkpoint(session: Session, project_id: str, checkpoint_id: str) -> Checkpoint | None:
    query = select(Checkpoint).where(Checkpoint.project_id == project_id, Checkpoint.id == checkpoint_id)
    return session.scalar(query)


def checkpoint_page(
    session: Session, project_id: str, slice_: Slice, *, provenance: Provenance | None
) -> Chunk[Checkpoint]:
    """Newest first; with `provenance`, only what `checkpoints` gives."""
    query = select(Checkpoint).where(Checkpoint.project_id == project_id)
    if provenance is not None:
        query = query.where(_published(provenance))
    return chunk(session, query, slice_, by=Checkpoint.id, newest_first=True)


def evaluations(session: Session, run_id: str) -> list[Evaluation]:
    return list(session.scalars(select(Evaluation).where(Evaluation.run_id == run_id).order_by(Evaluation.id)))


def evaluations_of(session: Session, checkpoint_id: str) -> list[Evaluation]:
    """Of one checkpoint, by whichever run and judge."""
    query = select(Evaluation).where(Evaluation.checkpoint_id == checkpoint_id)
    return list(session.scalars(query.order_by(Evaluation.id)))


def _preferred(query: Query, provenance: Provenance, where: PreferenceFilter) -> list[Query]:
    if where.split is not None:
        query = query.where(Preference.split == where.split)
    if not where.include_dropped:
        query = query.where(Preference.drop_reason.is_(None))
    made = (Preference.run_id, Preference.round)
    parts = _parts(provenance, StageKind.PREFER, run_id=made[0], round_=made[1], labelled=true())
    return [query.where(*part) for part in parts]


def _parts(
    provenance: Provenance,
    *kinds: StageKind,
    run_id: InstrumentedAttribute[str],
    round_: InstrumentedAttribute[int],
    labelled: ColumnElement[bool],
) -> list[tuple[ColumnElement[bool], ...]]:
    """The conditions of each range: what other runs made in the rounds that are reused; all that is the run's own."""
    elsewhere = provenance.elsewhere(*kinds).items()
    return [
        *((run_id == source, round_.in_(rounds), labelled) for source, rounds in elsewhere),
        (run_id == provenance.run_id,),
    ]


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
