"""Worlds: one a module for what only reads or makes runs of its own, one a test where the project itself changes."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.stages.world import World


@pytest.fixture(scope="module")
def world(module_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    world = World(module_database, tmp_path_factory.mktemp("world"))
    yield world
    world.close()
