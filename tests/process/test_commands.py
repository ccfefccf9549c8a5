"""The commands that a container's command line names, each as a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import httpx
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from cli.address import free_port, local_url
from cli.exits import Exit
from cli.stack.postgres import Postgres
from tests.stack import RealStack

WITHOUT_SERVERS = """
import sys
for name in ("psutil", "redis", "celery", "torch", "transformers"):
    sys.modules[name] = None
import cli.main
"""


def rlaif(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    """Run one command with these RLAIF_* settings and no others."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RLAIF_")} | settings
    argv = [sys.executable, "-m", "cli.main", *arguments]
    return subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=60, check=False)


class TestMigrate:
    def test_empty_database_gets_the_newest_schema_and_stays(self, postgres_server: Postgres) -> None:
        postgres_server.ensure_database("migrated_by_command")
        url = postgres_server.url("migrated_by_command")
        for _ in range(2):
            done = rlaif("migrate", RLAIF_DATABASE_URL=url)
            assert done.returncode == Exit.OK, done.stderr
        with create_engine(url, poolclass=NullPool).connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM runs")) == 0

    def test_unreachable_database_is_named_without_its_password(self) -> None:
        url = f"postgresql+psycopg://me:canary@127.0.0.1:{free_port('127.0.0.1')}/rlaif"
        done = rlaif("migrate", RLAIF_DATABASE_URL=url)
        assert done.returncode == Exit.FAILURE
        assert "127.0.0.1" in done.stderr
        assert "canary" not in done.stdout + done.stderr


class TestKeysBootstrap:
    def test_prints_a_key_that_opens_the_api(self, stack: RealStack) -> None:
        done = rlaif("keys", "bootstrap", "--project", "default", RLAIF_DATABASE_URL=stack.database_url)
        assert done.returncode == Exit.OK, done.stderr
        stack.start("api")
        headers = {"Authorization": f"Bearer {done.stdout.strip()}"}
        assert httpx.get(f"{stack.address}/v1/rubrics", headers=headers).status_code == httpx.codes.OK


class TestHealth:
    def test_follows_the_api(self, stack: RealStack) -> None:
        settings = stack.settings()
        assert rlaif("health", **settings).returncode == Exit.FAILURE
        stack.start("api")
        assert rlaif("health", **settings).returncode == Exit.OK
        stack.kill("postgres")
        assert rlaif("health", **settings).returncode == Exit.FAILURE


class TestAddress:
    def test_all_interfaces_are_reached_by_loopback(self) -> None:
        assert local_url("0.0.0.0", 80) == "http://127.0.0.1:80"  # noqa: S104 - an address to parse
        assert local_url("::", 80) == "http://[::1]:80"
        assert local_url("api.internal", 80) == "http://api.internal:80"

    def test_free_port_can_be_bound(self) -> None:
        assert free_port("127.0.0.1") > 0


class TestImports:
    def test_command_starts_without_broker_torch_and_embedded_servers(self) -> None:
        done = subprocess.run([sys.executable, "-c", WITHOUT_SERVERS], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
