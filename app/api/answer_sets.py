"""`/v1/answer-sets`: what judges answered before, to be replayed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from app.api.bodies import StrictRoute
from app.api.dependencies import (
    CurrentSettings,
    NameFilter,
    Reader,
    ReadSession,
    Store,
    Writer,
    WriteSession,
    path_id,
)
from app.api.idempotency import Once
from app.api.pagination import Paging
from app.api.uploads import ReceivedUpload, accepts
from app.db.ids import Kind
from app.schemas.answer_set import AnswerSetOut
from app.schemas.page import Page
from app.services import answer_sets

router = APIRouter(prefix="/v1/answer-sets", tags=["answer sets"], route_class=StrictRoute)
JSONL = "application/jsonl"
AnswerSetId = Annotated[
    str,
    path_id(Kind.ANSWER_SET),
    Path(description="Id of the answer set", examples=["answers_01m7xk5mgzeyva4mageqj2tqtk"]),
]
_ANSWER_LINE = '{"prompt_id": "kites-1", "first": 0, "second": 1, "order": "AB", "answer": "A", "probability": 0.9}\n'


@router.post(
    "",
    status_code=201,
    response_model=AnswerSetOut,
    operation_id="upload_answer_set",
    dependencies=[accepts(JSONL, "application/x-ndjson", "application/x-jsonlines", "application/octet-stream")],
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {JSONL: {"schema": {"type": "string"}, "example": _ANSWER_LINE}},
        }
    },
)
def upload_answer_set(
    upload: ReceivedUpload,
    caller: Writer,
    session: WriteSession,
    once: Once,
    settings: CurrentSettings,
    store: Store,
) -> Response:
    """Upload the answers that a judge gave, as JSON lines, plain or with `Content-Encoding: gzip`.

    A judge of kind `replay` then gives these answers again. A line names what it answers: `prompt_id` with the places
    `first` and `second` of two of that prompt's candidates, or a `comparison_id`, or a `prompt_hash`; exported
    verdicts are such lines. The set comes in whole or not at all: of a refused upload the first 100 bad lines are
    named, with the reason.
    """

    def work() -> AnswerSetOut:
        with upload.content() as content:
            return AnswerSetOut.of(
                answer_sets.upload(
                    session,
                    caller.project_id,
                    store=store,
                    name=upload.name,
                    content=content,
                    max_line=settings.max_line_bytes,
                    max_total=settings.max_upload_bytes,
                )
            )

    return once(work, at="/v1/answer-sets/{id}")


@router.get("", operation_id="list_answer_sets")
def list_answer_sets(
    caller: Reader, session: ReadSession, paging: Paging, name: NameFilter = None
) -> Page[AnswerSetOut]:
    """List answer sets, newest first."""
    return paging.page(answer_sets.page(session, caller.project_id, paging.slice, name=name), AnswerSetOut.of)


@router.get("/{answer_set_id}", operation_id="get_answer_set")
def get_answer_set(answer_set_id: AnswerSetId, caller: Reader, session: ReadSession) -> AnswerSetOut:
    """Get an answer set's counts and digest."""
    return AnswerSetOut.of(answer_sets.get(session, caller.project_id, answer_set_id))
