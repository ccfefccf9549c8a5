"""`/v1/secrets`: judges' API keys, write-only."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from app.api.bodies import StrictRoute
from app.api.dependencies import Admin, CurrentSettings, Reader, ReadSession, WriteSession, path_id
from app.api.idempotency import Once
from app.api.pagination import Paging
from app.db.ids import Kind
from app.schemas.page import Page
from app.schemas.secret import SecretIn, SecretOut
from app.services import secrets

router = APIRouter(prefix="/v1/secrets", tags=["secrets"], route_class=StrictRoute)
SecretId = Annotated[
    str, path_id(Kind.SECRET), Path(description="Id of the secret", examples=["secret_01m7xk5mgzeyva4mageqj2tqtk"])
]


@router.post("", status_code=201, response_model=SecretOut, operation_id="create_secret")
def create_secret(
    body: SecretIn, caller: Admin, session: WriteSession, once: Once, settings: CurrentSettings
) -> Response:
    """Store a secret for one host. It is encrypted at rest, referred to by name, and never shown again."""
    return once(
        lambda: SecretOut.of(
            secrets.create(
                session, caller.project_id, name=body.name, host=body.host, value=body.value, settings=settings
            )
        ),
        at="/v1/secrets/{id}",
    )


@router.get("", operation_id="list_secrets")
def list_secrets(caller: Reader, session: ReadSession, paging: Paging) -> Page[SecretOut]:
    """List names and hosts, newest first."""
    return paging.page(secrets.page(session, caller.project_id, paging.slice), SecretOut.of)


@router.get("/{secret_id}", operation_id="get_secret")
def get_secret(secret_id: SecretId, caller: Reader, session: ReadSession) -> SecretOut:
    """Get a secret's name and host."""
    return SecretOut.of(secrets.get(session, caller.project_id, secret_id))


@router.delete("/{secret_id}", status_code=204, operation_id="delete_secret")
def delete_secret(secret_id: SecretId, caller: Admin, session: WriteSession) -> None:
    """Delete a secret. Judges that name it fail with that reason until one of the same name is stored."""
    secrets.delete(session, caller.project_id, secret_id)
