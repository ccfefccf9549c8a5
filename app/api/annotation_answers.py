"""`/v1/annotation-queues/{queue_id}/claims` and `/annotations`: one person, one item, one answer."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response

from app.api import exports
from app.api.annotation_queues import QueueId
from app.api.bodies import StrictRoute
from app.api.dependencies import CurrentSettings, Reader, ReadSession, ReadSessions, Writer, WriteSession, path_id
from app.api.exports import JSONL, Format, FormatQuery, Listing
from app.api.idempotency import Once
from app.api.pagination import Paging
from app.api.uploads import ReceivedBody, accepts
from app.db.ids import Kind
from app.schemas.annotation import AnnotationOut, AnswerIn, ClaimIn, ClaimOut, ImportOut, ReleaseIn
from app.schemas.page import Page
from app.services import annotation_claims, annotation_imports, annotation_queues

router = APIRouter(prefix="/v1/annotation-queues", tags=["people"], route_class=StrictRoute)
ClaimId = Annotated[
    str,
    path_id(Kind.ANNOTATION_SEAT),
    Path(description="Id of the claim", examples=["claim_01m7xk5mgzeyva4mageqj2tqtk"]),
]
_LABEL_LINES = (
    '{"messages": [{"role": "user", "content": "What is salt?"}], "candidates": ["A mineral.", "No idea."], '
    '"annotations": [{"first": 0, "second": 1, "annotator": "ada", "answer": "A"}]}\n'
    '{"comparison_id": "comparison_01m7xk5mgzeyva4mageqj2tqtk", "annotator": "ada", "answer": "TIE"}\n'
)


@router.post(
    "/{queue_id}/claims",
    response_model=ClaimOut,
    operation_id="claim_annotation_item",
    responses={204: {"description": "There is nothing for this annotator now"}},
)
def claim_item(queue_id: QueueId, body: ClaimIn, caller: Writer, session: WriteSession) -> ClaimOut | Response:
    """Claim the next item for an annotator: the most urgent one that lacks answers and that they have no part in.

    Who claims again before answering or releasing gets the same claim, its time renewed: an answer to this request that
    got lost costs nothing, and nobody holds two items. The candidates come in an order that a coin decides for each
    item and person. A claim that is not answered in time goes to somebody else.
    """
    found = annotation_claims.claim(
        session, caller.project_id, queue_id, annotator=body.annotator, adjudication=body.adjudicate
    )
    return Response(status_code=204) if found is None else ClaimOut.of(found)


@router.post("/{queue_id}/claims/{claim_id}:answer", operation_id="answer_annotation_claim")
def answer_claim(
    queue_id: QueueId, claim_id: ClaimId, body: AnswerIn, caller: Writer, session: WriteSession
) -> AnnotationOut:
    """Answer a claimed item. The same answer may be sent again; after the claim's end it is 409 `claim_expired`."""
    answered = annotation_claims.answer(
        session, caller.project_id, queue_id, claim_id, token=body.token, given=body.given()
    )
    return AnnotationOut.of(answered)


@router.post("/{queue_id}/claims/{claim_id}:release", status_code=204, operation_id="release_annotation_claim")
def release_claim(
    queue_id: QueueId, claim_id: ClaimId, body: ReleaseIn, caller: Writer, session: WriteSession
) -> Response:
    """Give a claimed item back unanswered, so that somebody else gets it now."""
    annotation_claims.release(session, caller.project_id, queue_id, claim_id, token=body.token)
    return Response(status_code=204)


@router.get(
    "/{queue_id}/annotations",
    response_model=Page[AnnotationOut],
    operation_id="list_annotations",
    responses=exports.RESPONSES,
)
def list_annotations(
    queue_id: QueueId,
    caller: Reader,
    session: ReadSession,
    sessions: ReadSessions,
    paging: Paging,
    annotator: Annotated[str | None, Query(max_length=200, description="Only by this person")] = None,
    format_: FormatQuery = Format.JSON,
) -> Response:
    """List or export what people have answered, in the order of answering."""
    queue = annotation_queues.get(session, caller.project_id, queue_id)
    listing = Listing(
        "annotations",
        lambda read, slice_: annotation_queues.answer_page(read, queue.id, annotator, slice_),
        AnnotationOut,
    )
    return exports.respond(listing, format_, paging=paging, session=session, sessions=sessions)


@router.post(
    "/{queue_id}/annotations:upload",
    status_code=201,
    response_model=ImportOut,
    operation_id="upload_annotations",
    dependencies=[accepts(JSONL, "application/x-ndjson", "application/x-jsonlines", "application/octet-stream")],
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {JSONL: {"schema": {"type": "string"}, "example": _LABEL_LINES}},
        }
    },
)
def upload_annotations(
    queue_id: QueueId,
    body: ReceivedBody,
    caller: Writer,
    session: WriteSession,
    once: Once,
    settings: CurrentSettings,
) -> Response:
    """Upload labels that people gave elsewhere, as JSON lines, plain or with `Content-Encoding: gzip`.

    A line is a prompt with `candidates` and `annotations`, as in a prompt set, or one person's answer to a comparison
    of a run. All come in or none: of a refused upload the first 100 bad lines are named, with the reason. The same
    lines again change nothing. What lacks answers after that is put to people like any other item.
    """

    def work() -> ImportOut:
        with body.content() as content:
            imported = annotation_imports.upload(
                session,
                caller.project_id,
                queue_id,
                content=content,
                max_line=settings.max_line_bytes,
                max_total=settings.max_upload_bytes,
            )
            return ImportOut.of(queue_id, imported)

    return once(work, at="/v1/annotation-queues/{id}/annotations")
