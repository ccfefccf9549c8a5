"""`/v1/tasks`: what a model must still be able to do, in the lm-evaluation-harness format."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from app.api import exports
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
from app.api.exports import Format, FormatQuery, Listing
from app.api.idempotency import Once
from app.api.pagination import Paging
from app.api.uploads import ReceivedUpload, accepts
from app.db.ids import Kind
from app.schemas.page import Page
from app.schemas.task import TaskDocumentOut, TaskIn, TaskOut, TaskOutcomeOut
from app.services import tasks

router = APIRouter(prefix="/v1", tags=["tasks"], route_class=StrictRoute)
JSONL = "application/jsonl"
TaskId = Annotated[
    str, path_id(Kind.TASK), Path(description="Id of the task", examples=["task_01m7xk5mgzeyva4mageqj2tqtk"])
]
_LINES = (
    '{"task": "weather", "output_type": "multiple_choice", "doc_to_text": "question", "doc_to_choice": "choices", '
    '"doc_to_target": "answer"}\n{"question": "What falls from clouds?", "choices": ["rain", "stones"], "answer": 0}\n'
)


@router.post("/tasks", status_code=201, response_model=TaskOut, operation_id="create_task")
def create_task(body: TaskIn, caller: Writer, session: WriteSession, once: Once) -> Response:
    """Create a capability task that fits into one request.

    Its templates are rendered over every document at once, in a sandbox; what needs code to run is refused by name.
    """
    return once(
        lambda: TaskOut.of(
            tasks.create(
                session,
                caller.project_id,
                name=body.name or body.config.task,
                config=body.config,
                documents=body.documents,
            )
        ),
        at="/v1/tasks/{id}",
    )


@router.post(
    "/tasks:upload",
    status_code=201,
    response_model=TaskOut,
    operation_id="upload_task",
    dependencies=[accepts(JSONL, "application/x-ndjson", "application/x-jsonlines", "application/octet-stream")],
    openapi_extra={
        "requestBody": {"required": True, "content": {JSONL: {"schema": {"type": "string"}, "example": _LINES}}}
    },
)
def upload_task(
    upload: ReceivedUpload, caller: Writer, session: WriteSession, once: Once, settings: CurrentSettings
) -> Response:
    """Upload a task as JSON lines, plain or with `Content-Encoding: gzip`.

    The first line is the config, each other line a document. The task comes in whole or not at all.
    """

    def work() -> TaskOut:
        with upload.content() as content:
            return TaskOut.of(
                tasks.upload(
                    session,
                    caller.project_id,
                    name=upload.name,
                    content=content,
                    max_line=settings.max_line_bytes,
                    max_total=settings.max_upload_bytes,
                )
            )

    return once(work, at="/v1/tasks/{id}")


@router.get("/tasks", operation_id="list_tasks")
def list_tasks(caller: Reader, session: ReadSession, paging: Paging, name: NameFilter = None) -> Page[TaskOut]:
    """List capability tasks, newest first."""
    return paging.page(tasks.page(session, caller.project_id, paging.slice, name=name), TaskOut.of)


@router.get("/tasks/{task_id}", operation_id="get_task")
def get_task(task_id: TaskId, caller: Reader, session: ReadSession) -> TaskOut:
    """Get a task's config, count and digest."""
    return TaskOut.of(tasks.get(session, caller.project_id, task_id))


@router.get(
    "/tasks/{task_id}/documents",
    operation_id="list_task_documents",
    response_model=Page[TaskDocumentOut],
    responses=exports.RESPONSES,
)
def list_task_documents(
    task_id: TaskId,
    caller: Reader,
    session: ReadSession,
    sessions: ReadSessions,
    paging: Paging,
    format_: FormatQuery = Format.JSON,
) -> Response:
    """List or export a task's documents in their order, each as it was sent and as the model is asked."""
    project_id = tasks.get(session, caller.project_id, task_id).project_id
    listing = Listing(
        "documents", lambda read, slice_: tasks.documents(read, project_id, task_id, slice_), TaskDocumentOut
    )
    return exports.respond(listing, format_, paging=paging, session=session, sessions=sessions)


@router.get(
    "/tasks/{task_id}/outcomes/{model_digest}",
    operation_id="list_task_outcomes",
    response_model=Page[TaskOutcomeOut],
    responses=exports.RESPONSES,
)
def list_task_outcomes(
    task_id: TaskId,
    model_digest: Annotated[
        str,
        Path(
            pattern="^[0-9a-f]{64}$",
            description="Whose answers: the digest of a base model or checkpoint, as in the run's report",
            examples=["9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"],
        ),
    ],
    caller: Reader,
    session: ReadSession,
    sessions: ReadSessions,
    paging: Paging,
    format_: FormatQuery = Format.JSON,
) -> Response:
    """List or export what one model answered to each document, and what that scored."""
    project_id = tasks.get(session, caller.project_id, task_id).project_id
    listing = Listing(
        "outcomes",
        lambda read, slice_: tasks.outcomes(read, project_id, task_id, slice_, model_digest=model_digest),
        TaskOutcomeOut,
    )
    return exports.respond(listing, format_, paging=paging, session=session, sessions=sessions)
