"""One arena for all fault tests of a process, put in order before each."""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from tests.faults.arena import Arena


@pytest.fixture(scope="session")
def opened_arena(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    arena = Arena(tmp_path_factory.mktemp("arena"))
    with arena.stack:
        arena.open()
        yield arena


@pytest.fixture
def arena(opened_arena: Arena) -> Arena:
    """Emptied, with one relay and one `io` worker of four shards at a time."""
    opened_arena.reset()
    return opened_arena


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows the end of every part's log."""
    report = yield
    found = item.funcargs.get("arena") if isinstance(item, pytest.Function) else None
    if report.failed and isinstance(found, Arena):
        report.sections += [(f"log of {name}", text) for name, text in found.stack.logs().items()]
    return report
