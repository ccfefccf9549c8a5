"""`/v1/models`: base models and checkpoints that runs start from."""

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
from app.schemas.model import ModelIn, ModelOut
from app.schemas.page import Page
from app.services import models

router = APIRouter(prefix="/v1", tags=["models"], route_class=StrictRoute)
ModelId = Annotated[
    str, path_id(Kind.MODEL), Path(description="Id of the model", examples=["model_01m7xk5mgzeyva4mageqj2tqtk"])
]


@router.post("/models", status_code=201, response_model=ModelOut, operation_id="create_model")
def create_model(
    body: ModelIn, caller: Writer, session: WriteSession, once: Once, settings: CurrentSettings, store: Store
) -> Response:
    """Register a base model of the operator's directory.

    Its files are validated first: safetensors weights whose headers fit, a known architecture, a tokenizer, a chat
    template, and nothing that could run.
    """
    model = models.publish_local(store, settings.models_dir, body.directory_name())
    return once(
        lambda: ModelOut.of(models.register(session, caller.project_id, name=body.name, model=model)),
        at="/v1/models/{id}",
    )


@router.post(
    "/models:upload",
    status_code=201,
    response_model=ModelOut,
    operation_id="upload_model",
    dependencies=[accepts("application/x-tar", "application/octet-stream")],
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
def upload_model(
    upload: ReceivedUpload,
    caller: Writer,
    session: WriteSession,
    once: Once,
    settings: CurrentSettings,
    store: Store,
) -> Response:
    """Upload a base model as a tar of its directory, plain or with `Content-Encoding: gzip`.

    The archive is unpacked aside and validated like a registered one; a refused upload leaves nothing behind.
    """
    with upload.content() as archive:
        model = models.publish_archive(store, archive, max_bytes=settings.max_upload_bytes)
    return once(
        lambda: ModelOut.of(models.register(session, caller.project_id, name=upload.name, model=model)),
        at="/v1/models/{id}",
    )


@router.get("/models", operation_id="list_models")
def list_models(caller: Reader, session: ReadSession, paging: Paging, name: NameFilter = None) -> Page[ModelOut]:
    """List models, newest first."""
    return paging.page(models.page(session, caller.project_id, paging.slice, name=name), ModelOut.of)


@router.get("/models/{model_id}", operation_id="get_model")
def get_model(model_id: ModelId, caller: Reader, session: ReadSession) -> ModelOut:
    """Get a model."""
    return ModelOut.of(models.get(session, caller.project_id, model_id))
