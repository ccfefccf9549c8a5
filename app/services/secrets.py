"""Secrets: encrypted at rest, bound to one host of one project, never read back over the API."""

from __future__ import annotations

import json

from cryptography.fernet import Fernet, InvalidToken
from pydantic import SecretStr
from sqlalchemy.orm import Session

from app.config import Settings
from app.db.ids import Kind, new_id
from app.db.models import Secret
from app.db.session import WriteSession
from app.errors import Conflict, NotFound
from app.repositories import secrets
from app.repositories.named import insert_named
from app.repositories.pages import Chunk, Slice


class SecretsDisabled(Conflict):
    """Raised when the operator gave no RLAIF_SECRET_KEY, or one that is not 32 bytes in urlsafe base64."""


class SecretUnreadable(Conflict):
    """Raised when a stored secret was not encrypted with this key, or its row was moved to another host or project."""


class SecretHostMismatch(Conflict):
    """Raised when a secret would be sent to a host that it was not stored for."""


def create(
    session: WriteSession, project_id: str, *, name: str, host: str, value: SecretStr, settings: Settings
) -> Secret:
    """Raises SecretsDisabled, NameTaken."""
    secret = Secret(id=new_id(Kind.SECRET), project_id=project_id, name=name, host=host)
    sealed = {"project_id": project_id, "host": host, "value": value.get_secret_value()}
    secret.ciphertext = _cipher(settings).encrypt(json.dumps(sealed).encode())
    insert_named(session, secret)
    return secret


def get(session: Session, project_id: str, secret_id: str) -> Secret:
    """Raises NotFound."""
    if (secret := secrets.get(session, project_id, secret_id)) is None:
        raise NotFound.of("secret", secret_id)
    return secret


def page(session: Session, project_id: str, slice_: Slice) -> Chunk[Secret]:
    return secrets.page(session, project_id, slice_)


def delete(session: WriteSession, project_id: str, secret_id: str) -> None:
    """Raises NotFound."""
    secrets.delete(session, get(session, project_id, secret_id))


def require_bound(session: Session, project_id: str, name: str, *, host: str) -> Secret:
    """The secret of this name, if it may be sent to `host`. Raises NotFound, SecretHostMismatch."""
    if (secret := secrets.named(session, project_id, name)) is None:
        raise NotFound.of("secret", name)
    if secret.host != host.lower():
        raise SecretHostMismatch(
            f"secret {name!r} is bound to {secret.host!r} and is never sent to {host!r}: store one for that host",
            field="spec.secret",
        )
    return secret


def reveal(session: Session, project_id: str, name: str, *, host: str, settings: Settings) -> SecretStr:
    """The value, for the one host that it was stored for.

    Raises NotFound, SecretHostMismatch, SecretsDisabled, SecretUnreadable.
    """
    secret = require_bound(session, project_id, name, host=host)
    try:
        sealed = json.loads(_cipher(settings).decrypt(secret.ciphertext))
    except InvalidToken as error:
        raise SecretUnreadable(f"secret {name!r} was stored under another RLAIF_SECRET_KEY: store it again") from error
    if (sealed["project_id"], sealed["host"]) != (project_id, secret.host):
        raise SecretUnreadable(f"secret {name!r} belongs to another host or project: store it again")
    return SecretStr(sealed["value"])


def _cipher(settings: Settings) -> Fernet:
    if settings.secret_key is None:
        raise SecretsDisabled("no secret can be stored here: the operator must set RLAIF_SECRET_KEY")
    try:
        return Fernet(settings.secret_key.get_secret_value())
    except ValueError as error:
        raise SecretsDisabled("RLAIF_SECRET_KEY must be urlsafe base64 of 32 bytes") from error
