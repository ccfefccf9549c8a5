"""Probes and metrics."""

from __future__ import annotations

import httpx
from sqlalchemy import text

from tests.live_api import LiveApi


class TestProbes:
    def test_alive_and_ready_need_no_key(self, api: LiveApi) -> None:
        client = api.client(None)
        assert client.get("/healthz").json() == {"status": "alive"}
        assert client.get("/readyz").json()["status"] == "ready"

    def test_another_migration_is_not_ready(self, api: LiveApi, client: httpx.Client) -> None:
        stored = client.get("/readyz").json()["migration"]
        update = text("UPDATE alembic_version SET version_num = :number")
        with api.app.state.sessions.begin() as session:
            session.execute(update, {"number": "0000"})
        answer = client.get("/readyz")
        with api.app.state.sessions.begin() as session:
            session.execute(update, {"number": stored})
        assert (answer.status_code, answer.json()["code"]) == (503, "not_migrated")
        assert "rlaif migrate" in answer.json()["detail"]


class TestMetrics:
    def test_requests_are_counted_by_template(self, client: httpx.Client) -> None:
        client.get("/v1/rubrics/rubric_01m7xk5mgzeyva4mageqj2tqtk")
        client.get("/v1/no/such/route")
        metrics = client.get("/metrics").text
        assert 'route="/v1/rubrics/{rubric_id}",status="404"' in metrics
        assert 'route="unmatched",status="404"' in metrics
        assert "01m7xk5mgzeyva4mageqj2tqtk" not in metrics

    def test_the_engines_depths(self, api: LiveApi, client: httpx.Client) -> None:
        insert = "INSERT INTO outbox (shard_id, queue, created_at) VALUES ('shard_x', 'io', now() - interval '90 s')"
        with api.app.state.sessions.begin() as session:
            session.execute(text(insert))
        metrics = client.get("/metrics").text
        with api.app.state.sessions.begin() as session:
            session.execute(text("DELETE FROM outbox"))
        assert "rlaif_database_up 1.0" in metrics
        assert "rlaif_outbox_messages 1.0" in metrics
        age = next(line for line in metrics.splitlines() if line.startswith("rlaif_outbox_oldest_seconds "))
        assert 90 <= float(age.split()[1]) < 200
        assert 'rlaif_shards{queue="gpu",status="queued"} 0.0' in metrics
