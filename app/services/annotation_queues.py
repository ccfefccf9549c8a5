"""Annotation queues: what people are asked, chosen from a run's verdicts, and how their answers settle it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import AnnotationItem, AnnotationQueue, ItemState, Purpose
from app.db.session import WriteSession
from app.errors import InvalidInput, NotFound
from app.repositories import annotation_items, annotation_queues, annotation_seats, routing, runs
from app.repositories.annotation_queues import CountedQueue, ItemFilter
from app.repositories.annotation_seats import NewSeat
from app.repositories.named import insert_named
from app.repositories.pages import Chunk, Slice
from app.repositories.units import add_missing
from app.rlaif.annotation import agreed, settled
from app.rlaif.annotators import QueueAgreement, between_annotators
from app.rlaif.routing import Routed, Share, route
from app.rlaif.seeds import derive_seed
from app.schemas.annotation_queue import QueueIn
from app.services import run_parts
from app.services.runs import provenance


class RoutingRefused(InvalidInput):
    """Raised when a run's comparisons cannot be put to the people of a queue."""


def create(session: WriteSession, project_id: str, request: QueueIn) -> CountedQueue:
    """Raises NotFound, NameTaken."""
    with run_parts.within("rubric"):
        revision = run_parts.named_revision(session, project_id, request.rubric)
    queue = AnnotationQueue(
        id=new_id(Kind.ANNOTATION_QUEUE),
        project_id=project_id,
        name=request.name,
        rubric_revision_id=revision.id,
        annotators_per_item=request.annotators_per_item,
        claim_ttl_s=request.claim_ttl_s,
        settle_rule=request.settle_rule,
        instructions=request.instructions,
    )
    insert_named(session, queue)
    return CountedQueue(queue, dict.fromkeys(ItemState, 0))


def get(session: Session, project_id: str, queue_id: str, *, lock: bool = False) -> AnnotationQueue:
    """With `lock`, nothing else puts items in before this transaction ends. Raises NotFound."""
    if (queue := annotation_queues.get(session, project_id, queue_id, lock=lock)) is None:
        raise NotFound.of("annotation queue", queue_id)
    return queue


def counted(session: Session, project_id: str, queue_id: str) -> CountedQueue:
    """Raises NotFound."""
    queue = get(session, project_id, queue_id)
    return CountedQueue(queue, annotation_queues.counts(session, [queue.id])[queue.id])


def page(session: Session, project_id: str, slice_: Slice, *, name: str | None) -> Chunk[CountedQueue]:
    found = annotation_queues.page(session, project_id, slice_, name=name)
    items = annotation_queues.counts(session, [queue.id for queue in found.rows])
    return Chunk(tuple(CountedQueue(queue, items[queue.id]) for queue in found.rows), found.has_more, found.last)


def item_page(session: Session, queue_id: str, where: ItemFilter, slice_: Slice) -> Chunk[Row[Any]]:
    return annotation_queues.items(session, queue_id, where, slice_)


def answer_page(session: Session, queue_id: str, annotator: str | None, slice_: Slice) -> Chunk[Row[Any]]:
    return annotation_queues.answers(session, queue_id, annotator, slice_)


def route_run(
    session: WriteSession,
    project_id: str,
    queue_id: str,
    *,
    run_id: str,
    shares: Sequence[Share],
    limit: int,
    purposes: Collection[Purpose],
    seed: int,
) -> Counter[str]:
    """Put comparisons of a run into the queue; how many for which reason. Those that it holds are never taken again.

    Raises NotFound, RoutingRefused.
    """
    queue = get(session, project_id, queue_id, lock=True)
    judged = routing.judged_comparisons(
        session, routing.judgings(session, provenance(session, project_id, run_id), purposes), without_queue=queue.id
    )
    _require_same_question(session, project_id, queue, run_id)
    chosen = route(judged, shares, limit=limit, seed=seed)
    prompts = routing.prompt_ids(session, [each.comparison_id for each in chosen])
    rows = [_item(queue, each, prompts[each.comparison_id]) for each in chosen]
    add_missing(session, AnnotationItem, rows)
    seats = (NewSeat(row["id"], row["priority"]) for row in rows for _ in range(queue.annotators_per_item))
    annotation_seats.add(session, queue, seats)
    return Counter(each.reason.value for each in chosen)


def agreement(session: Session, project_id: str, queue_id: str) -> QueueAgreement:
    """How far people agree, adjudications left out: they are given where the others disagree. Raises NotFound."""
    queue = get(session, project_id, queue_id)
    return between_annotators(annotation_queues.labels(session, queue.id), seed=derive_seed(0, "agreement", queue.id))


def settle(session: WriteSession, queue: AnnotationQueue, item_ids: Collection[str]) -> None:
    """Move on every one of these items whose answers allow it. An adjudicator's answer settles; the others stay."""
    items = annotation_items.locked(session, item_ids)
    waiting = annotation_seats.waiting(session, item_ids)
    given = annotation_queues.given_answers(session, item_ids)
    for item in items:
        answers = given.get(item.id, [])
        if any(each.adjudication for each in answers):
            item.state, item.answer = ItemState.ADJUDICATED, settled(answers)
        elif item.state is ItemState.OPEN and item.id not in waiting:
            item.answer = agreed((each.answer for each in answers), queue.settle_rule)
            item.state = ItemState.ADJUDICATE if item.answer is None else ItemState.DONE
            if item.answer is None:
                annotation_seats.add(session, queue, [NewSeat(item.id, item.priority, adjudication=True)])
    session.flush()


def _require_same_question(session: Session, project_id: str, queue: AnnotationQueue, run_id: str) -> None:
    row = runs.get(session, project_id, run_id)
    if row is not None and row.rubric_revision_id != queue.rubric_revision_id:
        raise RoutingRefused(
            f"run {run_id!r} is judged by rubric revision {row.rubric_revision_id!r} and queue {queue.id!r} asks by "
            f"{queue.rubric_revision_id!r}: people would answer another question; make a queue with the run's revision",
            field="run",
        )


def _item(queue: AnnotationQueue, routed: Routed, prompt_id: str) -> dict[str, Any]:
    return {
        "id": new_id(Kind.ANNOTATION_ITEM),
        "project_id": queue.project_id,
        "queue_id": queue.id,
        "comparison_id": routed.comparison_id,
        "prompt_key": prompt_id,
        "reason": routed.reason,
        "priority": routed.priority,
        "state": ItemState.OPEN,
    }
