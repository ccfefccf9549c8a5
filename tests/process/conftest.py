"""One whole service for all tests of runs; each test finds it with every part up, whatever the one before it killed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.stack.sweep import marked
from tests.process.judge_server import JudgeServer
from tests.process.service import CANARY, EXAMPLES, Service


@pytest.fixture(scope="session")
def running_service(prepared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("service")
    subprocess.run(["cp", "-a", prepared_home, directory / "stack"], check=True)
    with JudgeServer(directory, rubric=EXAMPLES / "rubric.json", key=CANARY) as judge:
        with Service(directory / "stack", judge) as service:
            service.start_all()
            yield service
            service.stop()
            assert not marked(service.home), "an orderly end leaves nothing running"
        shutil.rmtree(directory / "stack")


@pytest.fixture
def service(running_service: Service) -> Service:
    """The service, whole."""
    running_service.mend()
    return running_service


@pytest.fixture(scope="session")
def checked_run(running_service: Service) -> str:
    """The id of a run from sampling to evaluation that nothing disturbed, with programs as judges."""
    running_service.mend()
    return str(running_service.finished(running_service.submit())["id"])


@pytest.fixture(scope="session")
def endpoint_run(running_service: Service, checked_run: str) -> str:
    """The id of a run that goes on from `checked_run`'s completions with the judge endpoint, undisturbed."""
    running_service.mend()
    judge = running_service.endpoint_judge()
    return str(running_service.finished(running_service.fork(checked_run, "judge", judge=judge))["id"])
