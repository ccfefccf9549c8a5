"""`/v1/annotation-queues`: what people are asked about, and what came of it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from app.api import exports
from app.api.bodies import StrictRoute
from app.api.dependencies import NameFilter, Reader, ReadSession, ReadSessions, Writer, WriteSession, path_id
from app.api.exports import Format, FormatQuery, Listing
from app.api.idempotency import Once
from app.api.pagination import Paging
from app.db.ids import Kind
from app.db.models import ItemState
from app.repositories.annotation_queues import ItemFilter
from app.rlaif.routing import RoutingReason
from app.schemas.annotation import AgreementOut
from app.schemas.annotation_queue import ItemOut, QueueIn, QueueOut, RoutedOut, RouteIn, SnapshotIn
from app.schemas.page import Page
from app.schemas.prompt_set import PromptSetOut
from app.services import annotation_queues, annotation_snapshots

router = APIRouter(prefix="/v1/annotation-queues", tags=["people"], route_class=StrictRoute)
QueueId = Annotated[
    str,
    path_id(Kind.ANNOTATION_QUEUE),
    Path(description="Id of the annotation queue", examples=["queue_01m7xk5mgzeyva4mageqj2tqtk"]),
]


@router.post("", status_code=201, response_model=QueueOut, operation_id="create_annotation_queue")
def create_queue(body: QueueIn, caller: Writer, session: WriteSession, once: Once) -> Response:
    """Create a queue: by which rubric people answer, how many of them each item, and when they have settled it."""
    return once(
        lambda: QueueOut.of(annotation_queues.create(session, caller.project_id, body)),
        at="/v1/annotation-queues/{id}",
    )


@router.get("", operation_id="list_annotation_queues")
def list_queues(caller: Reader, session: ReadSession, paging: Paging, name: NameFilter = None) -> Page[QueueOut]:
    """List queues, newest first."""
    return paging.page(annotation_queues.page(session, caller.project_id, paging.slice, name=name), QueueOut.of)


@router.get("/{queue_id}", operation_id="get_annotation_queue")
def get_queue(queue_id: QueueId, caller: Reader, session: ReadSession) -> QueueOut:
    """Get a queue and how many of its items are in each state."""
    return QueueOut.of(annotation_queues.counted(session, caller.project_id, queue_id))


@router.post("/{queue_id}:route", status_code=201, response_model=RoutedOut, operation_id="route_to_annotation_queue")
def route(queue_id: QueueId, body: RouteIn, caller: Writer, session: WriteSession, once: Once) -> Response:
    """Put comparisons of a run into the queue, chosen by what the judges said of them; none comes in twice.

    Asking again takes the next ones. A reason that finds too few comparisons stays short of its share.
    """

    def work() -> RoutedOut:
        found = annotation_queues.route_run(
            session,
            caller.project_id,
            queue_id,
            run_id=body.run,
            shares=[each.share_of() for each in body.by],
            limit=body.limit,
            purposes=body.purposes,
            seed=body.seed,
        )
        return RoutedOut(id=queue_id, routed=found.total(), by_reason=dict(found))

    return once(work, at="/v1/annotation-queues/{id}/items")


@router.get(
    "/{queue_id}/items",
    response_model=Page[ItemOut],
    operation_id="list_annotation_items",
    responses=exports.RESPONSES,
)
def list_items(
    queue_id: QueueId,
    caller: Reader,
    session: ReadSession,
    sessions: ReadSessions,
    paging: Paging,
    state: Annotated[ItemState | None, Query(description="Only in this state")] = None,
    reason: Annotated[RoutingReason | None, Query(description="Only routed for this reason")] = None,
    format_: FormatQuery = Format.JSON,
) -> Response:
    """List or export a queue's items, with what people have settled on."""
    queue, where = annotation_queues.get(session, caller.project_id, queue_id), ItemFilter(state, reason)
    listing = Listing("items", lambda read, slice_: annotation_queues.item_page(read, queue.id, where, slice_), ItemOut)
    return exports.respond(listing, format_, paging=paging, session=session, sessions=sessions)


@router.get("/{queue_id}/agreement", operation_id="get_annotator_agreement")
def get_agreement(queue_id: QueueId, caller: Reader, session: ReadSession) -> AgreementOut:
    """Measure how far people agree, with intervals that resample prompts."""
    return AgreementOut.of(annotation_queues.agreement(session, caller.project_id, queue_id))


@router.post(
    "/{queue_id}/snapshots", status_code=201, response_model=PromptSetOut, operation_id="create_annotation_snapshot"
)
def create_snapshot(queue_id: QueueId, body: SnapshotIn, caller: Writer, session: WriteSession, once: Once) -> Response:
    """Make a labelled prompt set of every item that people have settled; judges are calibrated on such a set.

    The set does not change when people go on answering. What a judge was calibrated on is never trained on: a run that
    names this queue in `prefer.people` and a calibration from its snapshot is refused.
    """
    return once(
        lambda: PromptSetOut.of(annotation_snapshots.create(session, caller.project_id, queue_id, name=body.name)),
        at="/v1/prompt-sets/{id}",
    )
