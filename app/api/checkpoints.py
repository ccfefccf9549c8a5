"""`/v1/checkpoints`: published weights, their manifest, and their files from any byte on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from app.api import ranges
from app.api.bodies import StrictRoute
from app.api.dependencies import Reader, ReadSession, Store, path_id
from app.api.pagination import Paging
from app.db.ids import Kind
from app.schemas.checkpoint import CheckpointOut
from app.schemas.page import Page
from app.services import checkpoints, model_cards

router = APIRouter(prefix="/v1/checkpoints", tags=["checkpoints"], route_class=StrictRoute)
CheckpointId = Annotated[
    str,
    path_id(Kind.CHECKPOINT),
    Path(description="Id of the checkpoint", examples=["checkpoint_01m7xk5mgzeyva4mageqj2tqtk"]),
]
_BINARY = {"schema": {"type": "string", "format": "binary"}}


def _download(media_type: str) -> dict[int | str, dict[str, Any]]:
    return {
        200: {"description": "All bytes", "content": {media_type: _BINARY}},
        206: {"description": "The bytes of `Range`", "content": {media_type: _BINARY}},
        304: {"description": "Unchanged: what `If-None-Match` names is current"},
        416: {"description": "`Range` begins behind the end"},
    }


@router.get("", operation_id="list_checkpoints")
def list_checkpoints(
    caller: Reader,
    session: ReadSession,
    paging: Paging,
    run: Annotated[str | None, Query(max_length=100, description="Only this run's and those that it reuses")] = None,
) -> Page[CheckpointOut]:
    """List checkpoints, newest first."""
    found = checkpoints.page(session, caller.project_id, paging.slice, run_id=run)
    return paging.page(found, CheckpointOut.model_validate)


@router.get("/{checkpoint_id}", operation_id="get_checkpoint")
def get_checkpoint(checkpoint_id: CheckpointId, caller: Reader, session: ReadSession) -> CheckpointOut:
    """Get a checkpoint's metrics, its lineage, and its manifest of files with their SHA-256."""
    return CheckpointOut.model_validate(checkpoints.get(session, caller.project_id, checkpoint_id))


@router.get(
    "/{checkpoint_id}/card",
    operation_id="get_checkpoint_card",
    response_class=Response,
    responses={200: {"description": "The card", "content": {"text/markdown": {"schema": {"type": "string"}}}}},
)
def get_card(checkpoint_id: CheckpointId, caller: Reader, session: ReadSession) -> Response:
    """Get the model card: what it is, what it was learned from, and every evaluation of it so far."""
    card = model_cards.get(session, caller.project_id, checkpoint_id)
    return Response(card, media_type="text/markdown")


@router.get(
    "/{checkpoint_id}/files/{name:path}",
    operation_id="download_checkpoint_file",
    response_class=Response,
    responses=_download("application/octet-stream"),
)
def download_file(
    checkpoint_id: CheckpointId,
    name: Annotated[str, Path(max_length=500, description="As in the manifest", examples=["model.safetensors"])],
    caller: Reader,
    session: ReadSession,
    store: Store,
    request: Request,
) -> Response:
    """Download one file of the manifest, or one byte range of it. The `ETag` is its SHA-256."""
    checkpoint = checkpoints.get(session, caller.project_id, checkpoint_id)
    return ranges.respond(request, checkpoints.file(store, checkpoint, name))


@router.get(
    "/{checkpoint_id}/archive",
    operation_id="download_checkpoint",
    response_class=Response,
    responses=_download("application/x-tar"),
)
def download_archive(
    checkpoint_id: CheckpointId, caller: Reader, session: ReadSession, store: Store, request: Request
) -> Response:
    """Download everything as one tar, manifest included. It is the same to the byte each time, so ranges work too."""
    checkpoint = checkpoints.get(session, caller.project_id, checkpoint_id)
    return ranges.respond(request, checkpoints.archive(store, checkpoint))
