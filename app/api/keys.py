"""`/v1/keys`: who may call."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from app.api.bodies import StrictRoute
from app.api.dependencies import Admin, ReadSession, WriteSession, path_id
from app.api.idempotency import Once
from app.api.pagination import Paging
from app.db.ids import Kind
from app.schemas.key import KeyIn, KeyOut, NewKeyOut
from app.schemas.page import Page
from app.services import keys

router = APIRouter(prefix="/v1/keys", tags=["keys"], route_class=StrictRoute)
KeyId = Annotated[
    str, path_id(Kind.KEY), Path(description="Id of the key", examples=["key_01m7xk5mgzeyva4mageqj2tqtk"])
]


@router.post("", status_code=201, response_model=NewKeyOut, operation_id="create_key")
def create_key(body: KeyIn, caller: Admin, session: WriteSession, once: Once) -> Response:
    """Create a key. The answer holds its plaintext; it is shown this once and kept nowhere."""

    def work() -> NewKeyOut:
        new = keys.create(session, caller.project_id, name=body.name, scopes=body.scopes, expires_at=body.expires_at)
        return NewKeyOut.with_plaintext(new.row, new.plaintext)

    return once(work, at="/v1/keys/{id}", withhold=("key",))


@router.get("", operation_id="list_keys")
def list_keys(caller: Admin, session: ReadSession, paging: Paging) -> Page[KeyOut]:
    """List the project's keys, newest first, revoked and expired ones too."""
    return paging.page(keys.page(session, caller.project_id, paging.slice), KeyOut.of)


@router.get("/{key_id}", operation_id="get_key")
def get_key(key_id: KeyId, caller: Admin, session: ReadSession) -> KeyOut:
    """Get a key, without its plaintext."""
    return KeyOut.of(keys.get(session, caller.project_id, key_id))


@router.delete("/{key_id}", status_code=204, operation_id="revoke_key")
def revoke_key(key_id: KeyId, caller: Admin, session: WriteSession) -> None:
    """Revoke a key: from this answer on it opens nothing. Revoking again changes nothing."""
    keys.revoke(session, caller.project_id, key_id)
