"""Seats: who answers which item, until when. Time is the database's alone."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import ColumnElement, Select, Text, cast, delete, func, or_, select, text, update
from sqlalchemy.orm import Session, aliased, defer

from app.db.ids import Kind, new_id
from app.db.models import Annotation, AnnotationItem, AnnotationQueue, AnnotationSeat, ItemState, RubricRevision
from app.repositories.annotation_items import ItemContent
from app.repositories.units import add_missing, among
from app.rlaif.comparison import Order


@dataclass(frozen=True, slots=True)
class NewSeat:
    """A seat to be, with the priority of its item."""

    item_id: str
    priority: float
    adjudication: bool = False


@dataclass(frozen=True, slots=True)
class LockedSeat:
    """A seat that this transaction has locked, and its item."""

    seat: AnnotationSeat
    item: AnnotationItem


@dataclass(frozen=True, slots=True)
class Claim:
    """A claimed seat and all that its person is shown."""

    seat: AnnotationSeat
    queue: AnnotationQueue
    rubric: RubricRevision
    content: ItemContent


@dataclass(frozen=True, slots=True)
class Answered:
    """A stored annotation and the comparison that it is about, where it is a run's."""

    annotation: Annotation
    comparison_id: str | None


def one_at_a_time(session: Session, queue_id: str, annotator: str) -> None:
    """Until the transaction ends, this annotator's other claims in the queue wait: none of them takes a second seat."""
    key = func.hashtextextended(f"{queue_id} {annotator}", 0)
    session.execute(select(cast(func.pg_advisory_xact_lock(key), Text)))


def live(session: Session, queue_id: str, annotator: str, *, adjudication: bool) -> LockedSeat | None:
    """The seat that this annotator holds and can still answer; an answer that is being stored is waited for."""
    query = (
        _at_items(queue_id, annotator, adjudication=adjudication)
        .where(
            AnnotationSeat.annotator == annotator,
            AnnotationSeat.answered_at.is_(None),
            AnnotationSeat.expires_at > func.now(),
        )
        .with_for_update(of=AnnotationSeat)
    )
    row = session.execute(query).one_or_none()
    return None if row is None else LockedSeat(*row)


def next_free(session: Session, queue_id: str, annotator: str, *, adjudication: bool) -> LockedSeat | None:
    """The most urgent seat that is free or whose claim has run out, at an item that this annotator has no part in.

    A seat that another claim has locked is passed over, not waited for.
    """
    query = (
        _at_items(queue_id, annotator, adjudication=adjudication)
        .where(_free(), ~_sits_elsewhere(annotator))
        .with_for_update(of=AnnotationSeat, skip_locked=True)
    )
    row = session.execute(query).one_or_none()
    return None if row is None else LockedSeat(*row)


def take(session: Session, seat: AnnotationSeat, annotator: str, *, token: str, order: Order, ttl_s: int) -> None:
    """Write the claim into a locked seat."""
    seat.annotator, seat.token, seat.order = annotator, token, order
    seat.expires_at = func.now() + timedelta(seconds=ttl_s)
    session.flush()
    session.refresh(seat)


def answer(session: Session, seat_id: str, token: str) -> AnnotationSeat | None:
    """Turn a live claim into an answered seat; None when the token is not that of a live claim."""
    answered = (
        update(AnnotationSeat)
        .where(_held(seat_id, token), AnnotationSeat.expires_at > func.now())
        .values(answered_at=func.now())
        .returning(AnnotationSeat)
    )
    return session.scalar(answered.execution_options(populate_existing=True, synchronize_session=False))


def release(session: Session, seat_id: str, token: str) -> bool:
    """Free a claimed seat, live or run out; False when the token is not its claim's."""
    freed = (
        update(AnnotationSeat)
        .where(_held(seat_id, token))
        .values(annotator=None, token=None, order=None, expires_at=None)
        .returning(AnnotationSeat.id)
    )
    return session.scalar(freed.execution_options(synchronize_session=False)) is not None


def find(session: Session, queue_id: str, seat_id: str) -> AnnotationSeat | None:
    query = select(AnnotationSeat).where(AnnotationSeat.queue_id == queue_id, AnnotationSeat.id == seat_id)
    return session.scalar(query.execution_options(populate_existing=True))


def add(session: Session, queue: AnnotationQueue, seats: Iterable[NewSeat]) -> None:
    """Free seats."""
    rows = [
        {
            "id": new_id(Kind.ANNOTATION_SEAT),
            "project_id": queue.project_id,
            "queue_id": queue.id,
            "item_id": seat.item_id,
            "priority": seat.priority,
            "adjudication": seat.adjudication,
        }
        for seat in seats
    ]
    add_missing(session, AnnotationSeat, rows)


def remove_free(session: Session, item_id: str, count: int) -> None:
    """Take away up to so many seats that nobody holds."""
    free = (
        select(AnnotationSeat.id)
        .where(AnnotationSeat.item_id == item_id, AnnotationSeat.adjudication.is_(False), _free())
        .limit(count)
        .with_for_update(skip_locked=True)
    )
    session.execute(
        delete(AnnotationSeat)
        .where(AnnotationSeat.id.in_(free.scalar_subquery()))
        .execution_options(synchronize_session=False)
    )


def waiting(session: Session, item_ids: Collection[str]) -> set[str]:
    """The items at which some annotator's seat is not answered."""
    query = select(AnnotationSeat.item_id).where(
        among(AnnotationSeat.item_id, item_ids),
        AnnotationSeat.adjudication.is_(False),
        AnnotationSeat.answered_at.is_(None),
    )
    return set(session.scalars(query))


def _at_items(queue_id: str, annotator: str, *, adjudication: bool) -> Select[AnnotationSeat, AnnotationItem]:
    """The most urgent seat, with its item, where this annotator's answer is still wanted."""
    return (
        select(AnnotationSeat, AnnotationItem)
        .join(AnnotationItem, AnnotationItem.id == AnnotationSeat.item_id)
        .where(
            AnnotationSeat.queue_id == queue_id,
            AnnotationItem.state == (ItemState.ADJUDICATE if adjudication else ItemState.OPEN),
            AnnotationSeat.adjudication == adjudication,
            ~_has_answered(annotator),
        )
        .order_by(AnnotationSeat.priority.desc(), AnnotationSeat.item_id, AnnotationSeat.id)
        .limit(1)
        .options(defer(AnnotationItem.content))
        .execution_options(populate_existing=True)
    )


def _held(seat_id: str, token: str) -> ColumnElement[bool]:
    return (AnnotationSeat.id == seat_id) & (AnnotationSeat.token == token) & AnnotationSeat.answered_at.is_(None)


def _free() -> ColumnElement[bool]:
    return AnnotationSeat.answered_at.is_(None) & or_(
        AnnotationSeat.annotator.is_(None), AnnotationSeat.expires_at <= func.now()
    )


def _sits_elsewhere(annotator: str) -> ColumnElement[bool]:
    other = aliased(AnnotationSeat)
    return (
        select(text("1"))
        .select_from(other)
        .where(other.item_id == AnnotationSeat.item_id, other.annotator == annotator, other.id != AnnotationSeat.id)
        .exists()
    )


def _has_answered(annotator: str) -> ColumnElement[bool]:
    return (
        select(text("1"))
        .select_from(Annotation)
        .where(Annotation.item_id == AnnotationSeat.item_id, Annotation.annotator == annotator)
        .exists()
    )
