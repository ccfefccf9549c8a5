"""Every test has a project of its own on the module's live API."""

from __future__ import annotations

import pytest

from tests.integration.api.runs.service import Client, Service
from tests.live_api import LiveApi


@pytest.fixture(scope="module")
def service(api: LiveApi) -> Service:
    return Service(api)


@pytest.fixture
def client(service: Service) -> Client:
    return service.client()
