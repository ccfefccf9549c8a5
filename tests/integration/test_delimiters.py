"""The key of the delimiters: of the server's secret, or of the deployment's own; never of what a client knows."""

from __future__ import annotations

from pydantic import SecretStr
from sqlalchemy.orm import Session

from app.config import Settings
from app.db.models import DeploymentKey
from app.services.delimiters import delimiter_key


def key(session: Session, secret: str | None) -> bytes:
    given = None if secret is None else SecretStr(secret)
    return delimiter_key(session, Settings(database_url="postgresql+psycopg://nobody@/nothing", secret_key=given))


def test_is_of_the_servers_secret_and_does_not_show_it(session: Session) -> None:
    assert key(session, "one") == key(session, "one") != key(session, "two")
    assert b"one" not in key(session, "one")


def test_without_a_secret_is_random_and_stays(session: Session) -> None:
    stored = session.get_one(DeploymentKey, "delimiters").value
    assert key(session, None) == stored
    assert len(set(stored)) > 10
    assert len(stored) == 32
