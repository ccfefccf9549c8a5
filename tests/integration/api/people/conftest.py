"""A queue over a run whose verdicts are what a test says they are, and people who answer."""

from __future__ import annotations

import pytest

from tests.integration.api.people.queue import Queue
from tests.integration.api.runs.service import Client, Service
from tests.live_api import LiveApi


@pytest.fixture(scope="module")
def service(api: LiveApi) -> Service:
    return Service(api)


@pytest.fixture
def client(service: Service) -> Client:
    return service.client()


@pytest.fixture
def queue(client: Client) -> Queue:
    """Two annotators an item; by majority, so that two who differ need an adjudicator."""
    return Queue.create(client, annotators_per_item=2)
