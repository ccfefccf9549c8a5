"""distilabel, as it was when its version came out, in an environment of its own that is made on first use."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations, count, islice
from pathlib import Path

from benchmarks.judge_endpoint import Seen
from benchmarks.judge_latency import Latency
from benchmarks.judge_processes import Watch, endpoint, pin
from benchmarks.judge_world import texts

VERSION = "1.5.3"
AS_OF = "2025-03-01"
"""Its dependencies as they were then: the version itself does not run with some of today's."""

DEFAULT_BATCH = 50
"""A step's rows that are asked at once; the next ones wait for the last of them."""

ENVIRONMENT = Path(__file__).parents[1] / ".bench" / f"distilabel-{VERSION}"


class PeerMissing(Exception):
    """Raised when the peer's environment is not there and cannot be made: no uv, or no package index in reach."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Calls a second between its first call and its last answer, CPU milliseconds a call in that time."""

    batch: int
    calls: int
    parsed: int
    per_second: float
    cpu_ms: float
    most_in_flight: int


def environment() -> Path:
    """The peer's Python, installed on first use. Raises PeerMissing."""
    python = ENVIRONMENT / "bin" / "python"
    if (ENVIRONMENT / "complete").exists():
        return python
    uv = shutil.which("uv")
    if uv is None:
        raise PeerMissing("distilabel's environment is made by uv, which is not on the PATH: install uv")
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    package = f"distilabel[openai]=={VERSION}"
    for argv in (
        [uv, "venv", "--quiet", "--python", "3.11", str(ENVIRONMENT)],
        [uv, "pip", "install", "--quiet", "--python", str(python), "--exclude-newer", AS_OF, package],
    ):
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        if done.returncode:
            raise PeerMissing(f"{' '.join(argv[:3])} ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    (ENVIRONMENT / "complete").touch()
    return python


def measure(latency: Latency, *, calls: int, batch: int) -> Peer:
    """Raises PeerMissing."""
    python = environment()
    script = Path(__file__).with_name("distilabel_peer.py")
    with tempfile.TemporaryDirectory() as scratch, endpoint(latency, reply="prometheus") as running:
        pairs = Path(scratch) / "pairs.jsonl"
        pairs.write_text("".join(f"{json.dumps(row)}\n" for row in islice(_pairs(), calls)))
        argv = [str(python), str(script), running.base_url, str(pairs), f"{batch}"]
        with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as popen:
            pin(popen.pid, endpoint=False)
            with Watch(popen.pid, running) as watch:
                output, _ = popen.communicate()
        result = json.loads(output.splitlines()[-1])
        return _figures(running.seen(), watch, batch=batch, parsed=result["parsed"])


def _figures(seen: Seen, watch: Watch, *, batch: int, parsed: int) -> Peer:
    answered = sum(seen.answered.values())
    busy = [sample for sample in watch.samples if 0 < sample.answered < answered]
    cpu_s = busy[-1].cpu_s - busy[0].cpu_s
    return Peer(
        batch=batch,
        calls=answered,
        parsed=parsed,
        per_second=answered / seen.last_answer_s,
        cpu_ms=1e3 * cpu_s / (busy[-1].answered - busy[0].answered),
        most_in_flight=seen.most_in_flight,
    )


def _pairs() -> Iterator[dict[str, object]]:
    for number in count():
        instruction, completions = texts(number)
        for pair in combinations(completions, 2):
            for generations in (pair, pair[::-1]):
                yield {"instruction": instruction, "generations": list(generations)}
