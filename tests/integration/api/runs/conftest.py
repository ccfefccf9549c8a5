"""One server a module; every test has a project of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from app.config import Settings
from tests.integration.api.runs.service import EXAMPLES, Client, Service, serving


@pytest.fixture(scope="module")
def service(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    settings = Settings(
        database_url=module_database,
        artifacts_dir=tmp_path_factory.mktemp("artifacts"),
        models_dir=EXAMPLES,
        log_json=False,
    )
    with serving(settings) as service:
        yield service


@pytest.fixture
def client(service: Service) -> Client:
    return service.client()
