"""The machinery of the embedded stack on real servers and small scripts: locks, left-overs, restarts, orderly ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from cli.address import free_port
from cli.stack.errors import (
    AlreadyRunning,
    ClusterInUse,
    Interrupted,
    PartFailed,
    PortInUse,
    ServerUnreachable,
    StackError,
)
from cli.stack.home import Home
from cli.stack.process import Part
from cli.stack.stack import Stack, StackOptions
from cli.stack.supervisor import Supervisor
from cli.stack.sweep import marked
from tests.stack import RealStack, wait_for

SERVERS_UP = """
import sys, time
from pathlib import Path
from cli.stack.home import Home
from cli.stack.stack import Stack, StackOptions
with Stack(Home.at(Path(sys.argv[1])), StackOptions(durable=False)) as stack:
    stack.start("postgres", "redis")
    print("up", flush=True)
    time.sleep(600)
"""
DEAF = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""
PARENT = """
import subprocess, time
subprocess.Popen(["sleep", "600"], start_new_session=True)
print("born", flush=True)
time.sleep(600)
"""


class ScriptStack(Stack):
    """A stack of one part, a Python script that is ready when it has printed something."""

    def __init__(self, root: Path, script: str) -> None:
        self.script = script
        super().__init__(Home.at(root), StackOptions(durable=False))

    def _parts(self) -> Iterable[Part]:
        log = self.home.log("script")
        yield Part("script", (sys.executable, "-c", self.script), lambda: log.exists() and log.stat().st_size > 0)


@pytest.fixture
def supervised(tmp_path: Path) -> Iterable[subprocess.Popen[str]]:
    """Another process that holds the stack of `tmp_path` with both servers up."""
    argv = [sys.executable, "-c", SERVERS_UP, str(tmp_path)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        yield process
        process.kill()
    with Stack(Home.at(tmp_path), StackOptions()):
        pass  # waits for the guard


def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cli.stack.supervisor.FIRST_PAUSE_S", 0.01)


class TestLock:
    def test_second_stack_is_refused_naming_the_holder(self, supervised: subprocess.Popen[str], tmp_path: Path) -> None:
        with pytest.raises(AlreadyRunning, match=f"process {supervised.pid}"):
            Stack(Home.at(tmp_path), StackOptions()).__enter__()

    def test_killed_holder_leaves_nothing_and_blocks_nobody(
        self, supervised: subprocess.Popen[str], tmp_path: Path
    ) -> None:
        home = Home.at(tmp_path)
        assert set(marked(home).values()) == {"postgres", "redis"}
        supervised.kill()
        supervised.wait()
        wait_for(lambda: not marked(home), what="the guard to end the servers")
        with Stack(home, StackOptions(durable=False)) as stack:
            stack.start_servers()

    def test_left_overs_of_a_killed_holder_and_guard_are_swept(
        self, supervised: subprocess.Popen[str], tmp_path: Path
    ) -> None:
        home = Home.at(tmp_path)
        (guard,) = (
            child for child in psutil.Process(supervised.pid).children() if "cli.stack.guard" in child.cmdline()
        )
        guard.kill()
        supervised.kill()
        supervised.wait()
        survivors = list(marked(home))
        assert survivors
        with Stack(home, StackOptions(durable=False)) as stack:
            assert not any(process.is_running() for process in survivors)
            stack.start("postgres")


class TestPostgres:
    def test_survives_kill_with_its_data(self, stack: RealStack) -> None:
        assert stack.postgres is not None
        with stack.postgres.connect() as connection:
            connection.execute("CREATE TABLE kept (value int)")
        stack.kill("postgres")
        stack.start("postgres")
        with stack.postgres.connect() as connection:
            assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)

    def test_listens_on_no_tcp_port(self, stack: RealStack) -> None:
        server = psutil.Process(stack.processes["postgres"].pid)
        assert [link.type for link in server.net_connections("inet")] == []

    def test_recycled_pid_in_the_lock_file_does_not_block_the_start(self, stack: RealStack) -> None:
        """After a reboot, or in a container, the pid in postmaster.pid is some other living process."""
        stack.kill("postgres")
        pid_file = stack.home.cluster / "postmaster.pid"
        lines = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
        stack.start("postgres")

    def test_foreign_live_server_is_not_touched(self, stack: RealStack) -> None:
        assert stack.postgres is not None
        with pytest.raises(ClusterInUse, match=str(stack.processes["postgres"].pid)):
            stack.postgres.prepare()

    def test_cut_initdb_is_made_again(self, tmp_path: Path) -> None:
        draft = tmp_path / "postgres.draft"
        draft.mkdir()
        (draft / "PG_VERSION").write_text("18\n")
        with RealStack(tmp_path) as stack:
            stack.start("postgres")

    def test_long_directory_gets_short_sockets(self, tmp_path: Path) -> None:
        with RealStack(tmp_path / ("long" * 30)) as stack:
            stack.start("postgres", "redis")
            sockets = stack.home.sockets()
            assert not sockets.is_relative_to(tmp_path)
        assert not sockets.exists()

    def test_closed_parent_directory_is_left_closed(self, tmp_path: Path) -> None:
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        with RealStack(closed / "data") as stack:
            stack.start("postgres")
        assert closed.stat().st_mode & 0o777 == 0o700


class TestHome:
    def test_foreign_socket_directory_is_refused(self, tmp_path: Path) -> None:
        home = Home.at(tmp_path)
        home.sockets().chmod(0o755)
        with pytest.raises(StackError, match="not a private directory"):
            home.sockets()

    def test_secret_key_is_kept_and_private(self, tmp_path: Path) -> None:
        home = Home.at(tmp_path)
        assert home.secret_key() == home.secret_key()
        assert (tmp_path / "secret-key").stat().st_mode & 0o777 == 0o600


class TestStop:
    def test_deaf_part_is_killed(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cli.stack.stack.STOP_GRACE_S", 0.2)
        with ScriptStack(tmp_path, DEAF) as stack:
            stack.start("script")
            process = stack.processes["script"]
        assert process.returncode == -signal.SIGKILL

    def test_grandchild_in_a_session_of_its_own_is_ended(self, tmp_path: Path) -> None:
        with ScriptStack(tmp_path, PARENT) as stack:
            stack.start("script")
            assert len(marked(stack.home)) == 2
        assert not marked(stack.home)


class TestStart:
    def test_unreachable_redis_is_named_without_its_password(self, tmp_path: Path) -> None:
        url = f"redis://:canary@127.0.0.1:{free_port('127.0.0.1')}/0"
        with (
            Stack(Home.at(tmp_path), StackOptions(redis_url=url, durable=False)) as stack,
            pytest.raises(ServerUnreachable, match="Redis at redis://127") as raised,
        ):
            stack.start_servers()
        assert "canary" not in str(raised.value)

    def test_port_of_another_server_is_refused(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            stack = RealStack(tmp_path)
            stack.options = replace(stack.options, port=other.getsockname()[1])
            with stack, pytest.raises(PortInUse, match=str(stack.options.port)):
                stack.start_all()

    def test_part_that_ends_at_once_is_reported_with_its_log(self, tmp_path: Path) -> None:
        with ScriptStack(tmp_path, "raise SystemExit('no licence')") as stack:
            stack.parts["script"] = Part("script", stack.parts["script"].argv, lambda: False)
            with pytest.raises(PartFailed, match=r"exited with status 1(.|\n)*no licence"):
                stack.start("script")

    def test_signal_during_the_start_ends_it(self, tmp_path: Path) -> None:
        with ScriptStack(tmp_path, "import time; time.sleep(600)") as stack:
            stack.interrupted.set()
            with pytest.raises(Interrupted, match="script"):
                stack.start("script")


class TestSupervisor:
    def test_killed_part_is_started_again(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        _short_pauses(monkeypatch)
        with ScriptStack(tmp_path, "import time; print('hello', flush=True); time.sleep(600)") as stack:
            stack.start("script")
            supervisor = Supervisor(stack)
            first = stack.processes["script"].pid
            os.kill(first, signal.SIGKILL)
            said = wait_for(supervisor.tend, what="a report of the end")
            assert "was killed by SIGKILL" in said[0]
            wait_for(_all_up(supervisor), what="the restart")
            assert stack.processes["script"].pid != first

    def test_pause_grows_while_a_part_keeps_failing(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        _short_pauses(monkeypatch)
        with ScriptStack(tmp_path, "print('bye')") as stack:
            stack.launch("script")
            supervisor = Supervisor(stack)
            ends = [wait_for(_put_down(supervisor), what="an end") for _ in range(3)]
        pauses = [sentence.split("again in ")[1].split(" s")[0] for sentence in ends]
        assert pauses == ["0.01", "0.02", "0.04"]


def _all_up(supervisor: Supervisor) -> Callable[[], bool]:
    def probe() -> bool:
        supervisor.tend()
        return supervisor.stack.up == set(supervisor.stack.parts)

    return probe


def _put_down(supervisor: Supervisor) -> Callable[[], str | None]:
    def probe() -> str | None:
        return next((sentence for sentence in supervisor.tend() if "again in" in sentence), None)

    return probe
