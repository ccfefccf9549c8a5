"""One live API for the tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI

from app.config import Settings
from app.main import create_app
from tests.integration.api.conftest import api_settings
from tests.live_api import LiveApi, serve


@pytest.fixture(scope="module")
def api(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveApi]:
    with serve(api_settings(module_database, tmp_path_factory.mktemp("api"))) as api:
        yield api


@pytest.fixture(scope="module")
def unconnected() -> FastAPI:
    """The app, of which nothing was ever started."""
    return create_app(Settings(database_url="postgresql+psycopg://nobody@/nothing"))
