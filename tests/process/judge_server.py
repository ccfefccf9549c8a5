"""The scripted judge as a process beside the stack, with its journal of calls."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx


@dataclass(frozen=True)
class Call:
    """One call that the judge endpoint received. `question` is the prompt's hash, as in the verdict that it led to."""

    at: datetime
    question: str
    fault: str | None


class JudgeServer:
    """`tests.scripted_judge` with a rubric; it refuses calls without `key`. Port 0 is a free one."""

    def __init__(self, directory: Path, *, rubric: Path, key: str, port: int = 0) -> None:
        self.journal = directory / "calls.jsonl"
        self.journal.touch()
        argv = [sys.executable, "-m", "tests.scripted_judge", "--port", str(port), "--journal", str(self.journal)]
        self._process = subprocess.Popen(
            [*argv, "--rubric", str(rubric), "--key", key], stdout=subprocess.PIPE, text=True
        )
        self.base_url = ""

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        self.base_url = self._process.stdout.readline().strip()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def script(self, *faults: str, repeat: bool = False, latency_s: float = 0.0) -> None:
        """What happens to the next calls, one fault each, `none` for none; each takes `latency_s` at least."""
        body: dict[str, Any] = {"faults": faults, "repeat": repeat, "latency_s": latency_s}
        httpx.put(f"{self.base_url.removesuffix('/v1')}/script", json=body).raise_for_status()

    def calls(self) -> list[Call]:
        """All calls since the start, in their order."""
        rows = [json.loads(line) for line in self.journal.read_text().splitlines()]
        return [Call(datetime.fromisoformat(row["at"]), row["prompt_hash"], row["fault"]) for row in rows]
