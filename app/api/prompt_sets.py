"""`/v1/prompt-sets`: what is asked."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse

from app.api.bodies import StrictRoute
from app.api.dependencies import (
    CurrentSettings,
    NameFilter,
    Reader,
    ReadSession,
    ReadSessions,
    Writer,
    WriteSession,
    path_id,
)
from app.api.idempotency import Once
from app.api.pagination import Paging
from app.api.uploads import ReceivedUpload, accepts
from app.db.ids import Kind
from app.db.models import Prompt
from app.schemas.page import Page
from app.schemas.prompt_set import HeldOut, PromptOut, PromptSetIn, PromptSetOut
from app.services import prompt_sets

router = APIRouter(prefix="/v1", tags=["prompt sets"], route_class=StrictRoute)
JSONL = "application/jsonl"
PromptSetId = Annotated[
    str,
    path_id(Kind.PROMPT_SET),
    Path(description="Id of the prompt set", examples=["pset_01m7xk5mgzeyva4mageqj2tqtk"]),
]
_PROMPT_LINE = '{"id": "kites-1", "messages": [{"role": "user", "content": "What is a kite?"}], "split": "train"}\n'


@router.post("/prompt-sets", status_code=201, response_model=PromptSetOut, operation_id="create_prompt_set")
def create_prompt_set(body: PromptSetIn, caller: Writer, session: WriteSession, once: Once) -> Response:
    """Create a prompt set that fits into one request. Prompts without a `split` are split by their content."""
    return once(
        lambda: PromptSetOut.of(
            prompt_sets.create(session, caller.project_id, name=body.name, prompts=body.prompts, held_out=body.held_out)
        ),
        at="/v1/prompt-sets/{id}",
    )


@router.post(
    "/prompt-sets:upload",
    status_code=201,
    response_model=PromptSetOut,
    operation_id="upload_prompt_set",
    dependencies=[accepts(JSONL, "application/x-ndjson", "application/x-jsonlines", "application/octet-stream")],
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {JSONL: {"schema": {"type": "string"}, "example": _PROMPT_LINE}},
        }
    },
)
def upload_prompt_set(
    upload: ReceivedUpload,
    caller: Writer,
    session: WriteSession,
    once: Once,
    settings: CurrentSettings,
    held_out: Annotated[HeldOut, Query(description="Share of the prompts without a `split` that is held out")] = 0.1,
) -> Response:
    """Upload a prompt set as JSON lines, plain or with `Content-Encoding: gzip`.

    One prompt a line, in this service's shape or in TRL's `prompt`, `chosen`, `rejected`. The set comes in whole or
    not at all: of a refused upload the first 100 bad lines are named, with the reason.
    """

    def work() -> PromptSetOut:
        with upload.content() as content:
            return PromptSetOut.of(
                prompt_sets.upload(
                    session,
                    caller.project_id,
                    name=upload.name,
                    content=content,
                    held_out=held_out,
                    max_line=settings.max_line_bytes,
                    max_total=settings.max_upload_bytes,
                )
            )

    return once(work, at="/v1/prompt-sets/{id}")


@router.get("/prompt-sets", operation_id="list_prompt_sets")
def list_prompt_sets(
    caller: Reader, session: ReadSession, paging: Paging, name: NameFilter = None
) -> Page[PromptSetOut]:
    """List prompt sets, newest first."""
    return paging.page(prompt_sets.page(session, caller.project_id, paging.slice, name=name), PromptSetOut.of)


@router.get("/prompt-sets/{prompt_set_id}", operation_id="get_prompt_set")
def get_prompt_set(prompt_set_id: PromptSetId, caller: Reader, session: ReadSession) -> PromptSetOut:
    """Get a prompt set's counts and digest."""
    return PromptSetOut.of(prompt_sets.get(session, caller.project_id, prompt_set_id))


@router.get(
    "/prompt-sets/{prompt_set_id}/prompts",
    operation_id="list_prompts",
    response_model=Page[PromptOut],
    responses={200: {"content": {JSONL: {"schema": {"type": "string"}, "example": _PROMPT_LINE}}}},
)
def list_prompts(
    prompt_set_id: PromptSetId,
    caller: Reader,
    session: ReadSession,
    paging: Paging,
    sessions: ReadSessions,
    format_: Annotated[
        Literal["json", "jsonl"], Query(alias="format", description="`json`: a page; `jsonl`: all prompts, streamed")
    ] = "json",
) -> Page[PromptOut] | StreamingResponse:
    """List a set's prompts in their order, or download them as JSON lines.

    A download can be uploaded again: the new set has the same digest.
    """
    if format_ == "json":
        found = prompt_sets.prompts(session, caller.project_id, prompt_set_id, paging.slice)
        return paging.page(found, PromptOut.of)
    prompt_set = prompt_sets.get(session, caller.project_id, prompt_set_id)
    batches = prompt_sets.every_prompt(sessions, prompt_set.id)
    headers = {"Content-Disposition": 'attachment; filename="prompts.jsonl"'}
    return StreamingResponse(map(_lines, batches), media_type=JSONL, headers=headers)


def _lines(rows: tuple[Prompt, ...]) -> bytes:
    return "".join(PromptOut.of(row).model_dump_json(exclude_none=True) + "\n" for row in rows).encode()
