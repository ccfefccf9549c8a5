"""API keys: created once, scoped, revoked at once."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from app.db.models import Scope
from app.main import PublicWithoutKeys, create_app
from tests.integration.api.conftest import api_settings
from tests.live_api import LiveApi


class TestKeys:
    def test_a_created_key_opens_its_project(self, api: LiveApi, client: httpx.Client) -> None:
        answer = client.post("/v1/keys", json={"name": "ci", "scopes": ["write"]})
        assert answer.status_code == 201
        assert answer.json()["key"].startswith("rlaif_")
        assert answer.json()["hint"].endswith(answer.json()["key"][-4:])
        opened = api.client(answer.json()["key"])
        assert opened.get("/v1/rubrics").status_code == 200

    def test_the_plaintext_is_in_no_later_answer_and_in_no_row(self, api: LiveApi, client: httpx.Client) -> None:
        created = client.post("/v1/keys", json={"name": "ci", "scopes": ["read"]}).json()
        later = client.get("/v1/keys").text + client.get(f"/v1/keys/{created['id']}").text
        with api.app.state.sessions() as session:
            rows = str(session.execute(text("SELECT to_jsonb(api_keys) FROM api_keys")).all())
        assert created["key"] not in later + rows

    def test_a_revoked_key_opens_nothing_from_the_answer_on(self, api: LiveApi, client: httpx.Client) -> None:
        created = client.post("/v1/keys", json={"name": "ci", "scopes": ["read"]}).json()
        opened = api.client(created["key"])
        assert opened.get("/v1/rubrics").status_code == 200
        assert client.delete(f"/v1/keys/{created['id']}").status_code == 204
        assert opened.get("/v1/rubrics").status_code == 401
        revoked = client.get(f"/v1/keys/{created['id']}").json()["revoked_at"]
        assert client.delete(f"/v1/keys/{created['id']}").status_code == 204
        assert client.get(f"/v1/keys/{created['id']}").json()["revoked_at"] == revoked

    def test_an_expired_key_opens_nothing(self, api: LiveApi, client: httpx.Client) -> None:
        past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
        created = client.post("/v1/keys", json={"name": "ci", "scopes": ["read"], "expires_at": past}).json()
        assert api.client(created["key"]).get("/v1/rubrics").status_code == 401

    @pytest.mark.parametrize(
        ("scope", "read", "write", "administer"),
        [(Scope.READ, 200, 403, 403), (Scope.WRITE, 200, 201, 403), (Scope.ADMIN, 200, 201, 200)],
    )
    def test_a_scope_includes_the_ones_before_it(
        self, api: LiveApi, project: str, scope: Scope, read: int, write: int, administer: int
    ) -> None:
        client = api.client(api.key(project, [scope]))
        body = {"name": "r", "criteria": [{"name": "c", "description": "d"}]}
        assert client.get("/v1/rubrics").status_code == read
        assert client.post("/v1/rubrics", json=body).status_code == write
        assert client.get("/v1/keys").status_code == administer

    @pytest.mark.parametrize(
        "header", ["", "Bearer", "Bearer x", "Bearer rlaif_x", "Basic cmxhaWY6", "Bearer rlaif_é", "rlaif_x"]
    )
    def test_what_is_no_key(self, api: LiveApi, header: str) -> None:
        answer = api.client(None).get("/v1/rubrics", headers=[(b"Authorization", header.encode())])
        assert (answer.status_code, answer.json()["code"]) == (401, "invalid_api_key")

    def test_nobody_unknown_makes_the_server_read_a_body(self, api: LiveApi) -> None:
        answer = api.client(None).post("/v1/rubrics", content=b"not json", headers={"Content-Type": "text/x"})
        assert answer.status_code == 401


class TestOpenDoor:
    def start(self, database: str, directory: Path, host: str) -> None:
        app = create_app(api_settings(database, directory).model_copy(update={"host": host}))

        async def up_and_down() -> None:
            async with app.router.lifespan_context(app):
                pass

        try:
            asyncio.run(up_and_down())
        finally:
            app.state.engine.dispose()

    @pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org"])  # noqa: S104  refused
    def test_a_public_address_without_keys_is_refused(self, database: str, tmp_path: Path, host: str) -> None:
        with pytest.raises(PublicWithoutKeys, match="rlaif keys"):
            self.start(database, tmp_path, host)

    @pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
    def test_loopback_needs_none(self, database: str, tmp_path: Path, host: str) -> None:
        self.start(database, tmp_path, host)
