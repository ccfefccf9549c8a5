"""Claims: one person gets one item for a while, answers it or gives it back."""

from __future__ import annotations

import secrets

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import Annotation, AnnotationItem, AnnotationQueue, AnnotationSeat, RubricRevision
from app.db.session import WriteSession
from app.errors import Conflict, InvalidInput, NotFound
from app.repositories import annotation_items, annotation_seats
from app.repositories.annotation_seats import Answered, Claim
from app.rlaif.annotation import Given, PersonAnswer, presentation_order
from app.rlaif.comparison import Order
from app.services import annotation_queues

_TOKEN_BYTES = 24


class ClaimExpired(Conflict):
    """Raised when a claim's time has run out, or it was given back: the item may be somebody else's by now."""


class ClaimAnswered(Conflict):
    """Raised when a claim has been answered, otherwise than now, or its person has answered the item elsewhere."""


class AdjudicatorSkips(InvalidInput):
    """Raised when an adjudicator gives no answer."""


def claim(session: WriteSession, project_id: str, queue_id: str, *, annotator: str, adjudication: bool) -> Claim | None:
    """The item that this person holds, its time renewed, or else the next one; None when there is nothing for them now.

    Who claims twice, since the first answer got lost, holds one item and not two. Raises NotFound.
    """
    queue = annotation_queues.get(session, project_id, queue_id)
    annotation_seats.one_at_a_time(session, queue.id, annotator)
    held = annotation_seats.live(session, queue.id, annotator, adjudication=adjudication)
    found = held or annotation_seats.next_free(session, queue.id, annotator, adjudication=adjudication)
    if found is None:
        return None
    annotation_seats.take(
        session,
        found.seat,
        annotator,
        token=(held and held.seat.token) or secrets.token_urlsafe(_TOKEN_BYTES),
        order=presentation_order(found.item.id, annotator),
        ttl_s=queue.claim_ttl_s,
    )
    content = annotation_items.contents(session, [found.item.id])[found.item.id]
    return Claim(found.seat, queue, session.get_one(RubricRevision, queue.rubric_revision_id), content)


def answer(
    session: WriteSession, project_id: str, queue_id: str, seat_id: str, *, token: str, given: Given
) -> Answered:
    """The annotation; the one that is stored where the same answer comes again.

    Raises NotFound, ClaimExpired, ClaimAnswered, AdjudicatorSkips.
    """
    queue = annotation_queues.get(session, project_id, queue_id)
    known = _seat(session, queue, seat_id)
    if known.adjudication and given.answer is PersonAnswer.SKIP:
        raise AdjudicatorSkips("an adjudicator has the last word: answer A, B or TIE, or release", field="answer")
    seat = annotation_seats.answer(session, seat_id, token)
    if seat is None:
        return _answered_before(session, known, token, given)
    row = _annotation(queue, seat, given)
    if session.scalar(insert(Annotation).values(row).on_conflict_do_nothing().returning(Annotation.id)) is None:
        raise ClaimAnswered(
            f"{seat.annotator!r} has answered this item already, by an import: claim the next one", field="token"
        )
    annotation_queues.settle(session, queue, [seat.item_id])
    return _stored(session, row["id"])


def release(session: WriteSession, project_id: str, queue_id: str, seat_id: str, *, token: str) -> None:
    """Give a claim back; to give it back again is fine. Raises NotFound, ClaimExpired, ClaimAnswered."""
    queue = annotation_queues.get(session, project_id, queue_id)
    known = _seat(session, queue, seat_id)
    if annotation_seats.release(session, seat_id, token):
        return
    if known.token == token:
        raise ClaimAnswered(f"claim {seat_id!r} has been answered: there is nothing to give back", field="token")
    if known.annotator is not None:
        raise _expired(seat_id)


def _seat(session: Session, queue: AnnotationQueue, seat_id: str) -> AnnotationSeat:
    if (seat := annotation_seats.find(session, queue.id, seat_id)) is None:
        raise NotFound.of("claim", seat_id)
    return seat


def _answered_before(session: Session, seat: AnnotationSeat, token: str, given: Given) -> Answered:
    session.refresh(seat)
    if seat.token != token or seat.answered_at is None:
        raise _expired(seat.id)
    where = {"item_id": seat.item_id, "annotator": seat.annotator}
    stored = _stored(session, session.scalars(select(Annotation.id).filter_by(**where)).one())
    if stored.annotation.answer is not given.answer.in_order(_shown(seat)):
        raise ClaimAnswered(f"claim {seat.id!r} has been answered, and otherwise: an answer stays", field="token")
    return stored


def _expired(seat_id: str) -> ClaimExpired:
    return ClaimExpired(
        f"claim {seat_id!r} has expired or was given back, and this answer is not stored: claim again", field="token"
    )


def _annotation(queue: AnnotationQueue, seat: AnnotationSeat, given: Given) -> dict[str, object]:
    return {
        "id": new_id(Kind.ANNOTATION),
        "project_id": queue.project_id,
        "queue_id": queue.id,
        "item_id": seat.item_id,
        "annotator": seat.annotator,
        "answer": given.answer.in_order(_shown(seat)),
        "skip_reason": given.skip_reason,
        "note": given.note,
        "seconds": given.seconds,
        "order": seat.order,
        "imported": False,
        "adjudication": seat.adjudication,
    }


def _shown(seat: AnnotationSeat) -> Order:
    if seat.order is None:
        raise ValueError(f"seat {seat.id!r} is claimed by nobody, so nothing was shown there")
    return seat.order


def _stored(session: Session, annotation_id: object) -> Answered:
    annotation = session.get_one(Annotation, annotation_id)
    return Answered(annotation, session.get_one(AnnotationItem, annotation.item_id).comparison_id)
