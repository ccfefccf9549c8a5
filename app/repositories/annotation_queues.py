"""Annotation queues, what they hold, and what people have answered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from app.db.models import Annotation, AnnotationItem, AnnotationQueue, Calibration, ItemState, PromptSet
from app.repositories.pages import Chunk, Slice, chunk
from app.repositories.results import Query
from app.repositories.units import among
from app.rlaif.annotation import GivenAnswer, PersonAnswer
from app.rlaif.annotators import PersonSaid
from app.rlaif.blending import PeopleSaid
from app.rlaif.comparison import Answer
from app.rlaif.routing import RoutingReason


@dataclass(frozen=True, slots=True)
class ItemFilter:
    state: ItemState | None = None
    reason: RoutingReason | None = None


@dataclass(frozen=True, slots=True)
class CountedQueue:
    """A queue and how many of its items are in each state."""

    queue: AnnotationQueue
    items: Mapping[ItemState, int]


def get(session: Session, project_id: str, queue_id: str, *, lock: bool = False) -> AnnotationQueue | None:
    """With `lock`, items are put in one after another."""
    query = select(AnnotationQueue).where(AnnotationQueue.project_id == project_id, AnnotationQueue.id == queue_id)
    return session.scalar(query.with_for_update() if lock else query)


def page(session: Session, project_id: str, slice_: Slice, *, name: str | None) -> Chunk[AnnotationQueue]:
    query = select(AnnotationQueue).where(AnnotationQueue.project_id == project_id)
    if name is not None:
        query = query.where(AnnotationQueue.name == name)
    return chunk(session, query, slice_, by=AnnotationQueue.id, newest_first=True)


def counts(session: Session, queue_ids: Sequence[str]) -> dict[str, dict[ItemState, int]]:
    """Items by queue id and state."""
    query = select(AnnotationItem.queue_id, AnnotationItem.state, func.count()).where(
        among(AnnotationItem.queue_id, queue_ids)
    )
    found: dict[str, dict[ItemState, int]] = {queue_id: dict.fromkeys(ItemState, 0) for queue_id in queue_ids}
    for queue_id, state, count in session.execute(query.group_by(AnnotationItem.queue_id, AnnotationItem.state)):
        found[queue_id][state] = count
    return found


def items(session: Session, queue_id: str, where: ItemFilter, slice_: Slice) -> Chunk[Row[Any]]:
    query = select(*AnnotationItem.__table__.columns).where(AnnotationItem.queue_id == queue_id)
    if where.state is not None:
        query = query.where(AnnotationItem.state == where.state)
    if where.reason is not None:
        query = query.where(AnnotationItem.reason == where.reason)
    return _rows(session, query, slice_, by=AnnotationItem.id)


def answers(session: Session, queue_id: str, annotator: str | None, slice_: Slice) -> Chunk[Row[Any]]:
    query = select(*Annotation.__table__.columns, AnnotationItem.comparison_id)
    query = query.join(AnnotationItem, AnnotationItem.id == Annotation.item_id).where(Annotation.queue_id == queue_id)
    if annotator is not None:
        query = query.where(Annotation.annotator == annotator)
    return _rows(session, query, slice_, by=Annotation.id)


def _rows(session: Session, query: Query, slice_: Slice, *, by: Any) -> Chunk[Row[Any]]:
    if slice_.after is not None:
        query = query.where(by > slice_.after)
    rows = tuple(session.execute(query.order_by(by).limit(slice_.limit + 1)))
    kept = rows[: slice_.limit]
    return Chunk(kept, len(rows) > slice_.limit, kept[-1].id if kept else None)


def labels(session: Session, queue_id: str) -> Iterator[PersonSaid]:
    """Every annotator's answer, adjudications left out: they are given on what the others disagree on."""
    query = (
        select(Annotation.item_id, AnnotationItem.prompt_key, Annotation.annotator, Annotation.answer)
        .join(AnnotationItem, AnnotationItem.id == Annotation.item_id)
        .where(Annotation.queue_id == queue_id, Annotation.adjudication.is_(False))
        .order_by(Annotation.id)
    )
    return (PersonSaid(*row) for row in session.execute(query))


def given_answers(session: Session, item_ids: Collection[str]) -> dict[str, list[GivenAnswer]]:
    """What was answered of each item, skips left out, in the order of answering."""
    query = select(Annotation).where(among(Annotation.item_id, item_ids), Annotation.answer != PersonAnswer.SKIP)
    found: dict[str, list[GivenAnswer]] = defaultdict(list)
    for row in session.scalars(query.order_by(Annotation.id)):
        found[row.item_id].append(GivenAnswer(row.annotator, Answer(row.answer), row.adjudication))
    return dict(found)


def queues_behind(session: Session, calibration_ids: Collection[str]) -> list[str]:
    """The queues whose snapshots these calibrations measured on."""
    query = (
        select(PromptSet.annotation_queue_id)
        .join(Calibration, Calibration.prompt_set_id == PromptSet.id)
        .where(among(Calibration.id, calibration_ids), PromptSet.annotation_queue_id.is_not(None))
        .distinct()
    )
    return [queue_id for queue_id in session.scalars(query) if queue_id is not None]


def people_said(session: Session, queue_id: str, comparison_ids: Collection[str]) -> dict[str, PeopleSaid]:
    """What people have answered of some comparisons, by comparison id; one that nobody answered is absent."""
    query = select(AnnotationItem.id, AnnotationItem.comparison_id, AnnotationItem.answer).where(
        AnnotationItem.queue_id == queue_id, among(AnnotationItem.comparison_id, comparison_ids)
    )
    rows = session.execute(query).all()
    given = given_answers(session, [row.id for row in rows])
    return {
        row.comparison_id: PeopleSaid(tuple(each.answer for each in given[row.id]), row.answer)
        for row in rows
        if row.id in given
    }
