"""One live API for the tests of a module, and a project of its own for each test."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydantic import SecretStr

from app.config import Settings
from tests.live_api import LiveApi, serve

EXAMPLES = Path(__file__).parents[3] / "examples"


def api_settings(database_url: str, directory: Path) -> Settings:
    """Small limits, so that a test reaches them with little."""
    return Settings(
        database_url=database_url,
        artifacts_dir=directory / "artifacts",
        models_dir=EXAMPLES,
        secret_key=SecretStr(base64.urlsafe_b64encode(b"k" * 32).decode()),
        max_body_bytes=256 * 1024,
        max_line_bytes=64 * 1024,
        max_upload_bytes=16 * 2**20,
        private_networks="10.99.0.0/16",
    )


@pytest.fixture(scope="module")
def api(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveApi]:
    with serve(api_settings(module_database, tmp_path_factory.mktemp("api"))) as api:
        yield api


@pytest.fixture
def project(api: LiveApi) -> str:
    """The admin key of a project that no other test sees."""
    return api.project()


@pytest.fixture
def client(api: LiveApi, project: str) -> httpx.Client:
    return api.client(project)
