"""Secrets: write-only, encrypted, bound to a host of a project."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import text

from app.services.secrets import SecretHostMismatch, SecretsDisabled, SecretUnreadable, reveal
from tests.live_api import LiveApi

CANARY = "sk-canary-0123456789"
BODY: dict[str, Any] = {"name": "openai", "host": "API.openai.com", "value": CANARY}


def project_id(api: LiveApi) -> str:
    with api.app.state.sessions() as session:
        found: str = session.scalar(text("SELECT project_id FROM secrets ORDER BY id DESC LIMIT 1"))
        return found


class TestSecrets:
    def test_no_answer_holds_the_value(self, client: httpx.Client, capsys: pytest.CaptureFixture[str]) -> None:
        created = client.post("/v1/secrets", json=BODY, headers={"Idempotency-Key": "k"})
        assert created.json()["host"] == "api.openai.com"
        replayed = client.post("/v1/secrets", json=BODY, headers={"Idempotency-Key": "k"})
        got = client.get(f"/v1/secrets/{created.json()['id']}")
        taken = client.post("/v1/secrets", json=BODY)
        answers = [created, replayed, got, taken, client.get("/v1/secrets")]
        assert [answer.status_code for answer in answers] == [201, 201, 200, 409, 200]
        assert CANARY not in "".join(answer.text for answer in answers) + capsys.readouterr().out

    def test_no_row_holds_the_value(self, api: LiveApi, client: httpx.Client) -> None:
        client.post("/v1/secrets", json=BODY, headers={"Idempotency-Key": "k"})
        with api.app.state.sessions() as session:
            rows = str(session.execute(text("SELECT to_jsonb(s) FROM secrets s")).all())
            rows += str(session.execute(text("SELECT to_jsonb(i) FROM idempotency_keys i")).all())
            rows += str(session.execute(text("SELECT convert_from(ciphertext, 'UTF8') FROM secrets")).all())
        assert CANARY not in rows

    def test_reading_is_for_readers_and_writing_for_admins(self, api: LiveApi, client: httpx.Client) -> None:
        created = client.post("/v1/secrets", json=BODY).json()
        assert client.delete(f"/v1/secrets/{created['id']}").status_code == 204
        assert client.get(f"/v1/secrets/{created['id']}").status_code == 404
        assert client.post("/v1/secrets", json=BODY).status_code == 201

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"host": "https://api.openai.com"}, "host"),
            ({"host": ""}, "host"),
            ({"name": "a b"}, "name"),
            ({"value": ""}, "value"),
            ({"value": 7}, "value"),
        ],
    )
    def test_refused(self, client: httpx.Client, change: dict[str, Any], field: str) -> None:
        answer = client.post("/v1/secrets", json={**BODY, **change})
        assert (answer.status_code, answer.json()["field"]) == (422, field)
        assert CANARY not in answer.text


class TestReveal:
    def test_only_for_its_host(self, api: LiveApi, client: httpx.Client) -> None:
        client.post("/v1/secrets", json=BODY)
        with api.app.state.sessions() as session:
            project = project_id(api)
            value = reveal(session, project, "openai", host="api.openai.com", settings=api.settings)
            assert value.get_secret_value() == CANARY
            with pytest.raises(SecretHostMismatch):
                reveal(session, project, "openai", host="evil.example", settings=api.settings)

    def test_a_row_moved_to_another_host_is_unreadable(self, api: LiveApi, client: httpx.Client) -> None:
        created = client.post("/v1/secrets", json=BODY).json()
        project = project_id(api)
        with api.app.state.sessions.begin() as session:
            session.execute(text("UPDATE secrets SET host = 'evil.example' WHERE id = :id"), {"id": created["id"]})
        with api.app.state.sessions() as session, pytest.raises(SecretUnreadable):
            reveal(session, project, "openai", host="evil.example", settings=api.settings)

    @pytest.mark.parametrize("key", [None, SecretStr("short")])
    def test_without_an_operators_key(self, api: LiveApi, client: httpx.Client, key: SecretStr | None) -> None:
        client.post("/v1/secrets", json=BODY)
        settings = api.settings.model_copy(update={"secret_key": key})
        with api.app.state.sessions() as session, pytest.raises(SecretsDisabled):
            reveal(session, project_id(api), "openai", host="api.openai.com", settings=settings)
