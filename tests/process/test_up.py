"""`rlaif up` as a user runs it: a process with output, a data directory and signals."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import psutil
import pytest

from cli.exits import Exit
from cli.stack.home import Home
from cli.stack.sweep import marked
from tests.stack import wait_for

PARTS = {"postgres", "redis", "api", "relay", "worker-io"}
SMALL = ("--port", "0", "--gpu-workers", "0")
NO_WORKERS = ("--io-workers", "0")


class Up:
    """One `rlaif up` with an io worker; killed with everything it started when the block ends."""

    def __init__(self, data_dir: Path, *options: str) -> None:
        self.home = Home.at(data_dir)
        self.output = data_dir.with_name("output.txt")
        argv = (
            sys.executable,
            "-m",
            "cli.main",
            "up",
            "--data-dir",
            str(data_dir),
            "--port",
            "0",
            "--gpu-workers",
            "0",
        )
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RLAIF_")}
        with self.output.open("w") as output:
            self.process = subprocess.Popen(
                [*argv, *options], stdout=output, stderr=output, env=environment, start_new_session=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        wait_for(lambda: not marked(self.home), what="the guard to end what was left")
        if error is not None:
            error.add_note(self.output.read_text())

    def saying(self, pattern: str) -> re.Match[str]:
        """Wait until the output has the pattern."""

        def probe() -> re.Match[str] | None:
            found = re.search(pattern, self.output.read_text())
            assert found or self.process.poll() is None, self.output.read_text()
            return found

        return wait_for(probe, what=f"output like {pattern!r}", timeout_s=90)

    def client(self) -> httpx.Client:
        """A client of its API with the key it left."""
        address = self.saying(r"ready in .* at (\S+)")[1]
        self.saying("try: curl")
        key = self.home.api_key_file.read_text().strip()
        return httpx.Client(base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=30)

    def ends(self) -> int:
        """Wait for its end; the exit status."""
        return self.process.wait(60)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A running `rlaif up` that the tests of this module share; each leaves it up."""
    with Up(tmp_path_factory.mktemp("up") / "data") as up:
        up.saying("try: curl")
        yield up


class TestRunning:
    def test_every_part_is_a_process(self, up: Up) -> None:
        assert set(marked(up.home).values()) == PARTS

    def test_shown_key_opens_the_api(self, up: Up) -> None:
        address, key = up.saying(r"at (http\S+)")[1], up.saying(r"shown this once: (\S+)")[1]
        answer = httpx.get(f"{address}/v1/rubrics", headers={"Authorization": f"Bearer {key}"})
        assert answer.status_code == httpx.codes.OK, answer.text

    def test_secrets_are_for_the_owner_alone(self, up: Up) -> None:
        for name in ("api-key", "secret-key", "lock"):
            assert (up.home.root / name).stat().st_mode & 0o077 == 0, name
        assert up.home.root.stat().st_mode & 0o077 == 0

    def test_only_the_api_listens_on_tcp(self, up: Up) -> None:
        listeners = {name for process, name in marked(up.home).items() if _listens(process)}
        assert listeners == {"api"}

    def test_second_up_is_refused_with_its_own_status(self, up: Up, tmp_path: Path) -> None:
        argv = [sys.executable, "-m", "cli.main", "up", "--data-dir", str(up.home.root), "--port", "0"]
        second = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
        assert second.returncode == Exit.ALREADY_RUNNING
        assert f"process {up.process.pid}" in second.stdout

    @pytest.mark.parametrize("part", ["api", "relay", "worker-io", "redis", "postgres"])
    def test_killed_part_is_started_again(self, up: Up, part: str) -> None:
        before = {process.pid for process, name in marked(up.home).items() if name == part}
        leader = min(before)
        os.kill(leader, signal.SIGKILL)
        up.saying(rf"{part} was killed by SIGKILL")
        up.saying(rf"{part} is up \(process (?!{leader}\))\d+\)")
        with up.client() as client:
            wait_for(lambda: _answers(client), what="the API to answer from the database")


class TestEnd:
    def test_signal_stops_all_and_a_second_start_finds_everything(self, tmp_path: Path) -> None:
        with Up(tmp_path / "data") as first:
            key = first.saying(r"shown this once: (\S+)")[1]
            first.process.send_signal(signal.SIGINT)
            assert first.ends() == Exit.OK
            assert not marked(first.home)
        with Up(tmp_path / "data", *NO_WORKERS) as second:
            with second.client() as client:
                assert client.get("/v1/rubrics").status_code == httpx.codes.OK
            assert second.home.api_key_file.read_text().strip() == key
            assert "shown this once" not in second.output.read_text()
            second.process.send_signal(signal.SIGTERM)
            assert second.ends() == Exit.OK
            assert not marked(second.home)

    def test_kill_of_the_supervisor_leaves_nothing_and_the_next_start_works(self, tmp_path: Path) -> None:
        with Up(tmp_path / "data") as first:
            first.saying("try: curl")
            first.process.kill()
            first.process.wait()
            wait_for(lambda: not marked(first.home), what="the guard to end every part")
        with Up(tmp_path / "data", *NO_WORKERS) as second, second.client() as client:
            assert client.get("/v1/rubrics").status_code == httpx.codes.OK

    def test_failed_start_says_why_and_leaves_nothing(self, up: Up, tmp_path: Path) -> None:
        port = up.saying(r"at http://127\.0\.0\.1:(\d+)")[1]
        with Up(tmp_path / "data", "--port", port) as second:
            assert second.ends() == Exit.FAILURE
            assert f"port {port} is in use" in second.output.read_text()
            assert not marked(second.home)


def _listens(process: psutil.Process) -> bool:
    return any(link.status == psutil.CONN_LISTEN for link in process.net_connections("inet"))


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/v1/rubrics").status_code == httpx.codes.OK
    except httpx.TransportError:
        return False
