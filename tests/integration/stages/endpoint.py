"""The scripted judge endpoint in a thread of its own, for stages that call it from this process."""

from __future__ import annotations

import asyncio
import threading
from types import TracebackType
from typing import Any, Self

from tests.scripted_judge import ScriptedJudge, serve

USD_PER_MILLION = 1000.0
WAIT_S = 10.0


class RunningJudge:
    """A judge that listens while the block lasts. `judge` is its script and its journal."""

    def __init__(self, judge: ScriptedJudge | None = None) -> None:
        self.judge = judge or ScriptedJudge()
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._port = 0

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(WAIT_S)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
        self._loop.call_soon_threadsafe(self._done.set)
        self._thread.join(WAIT_S)

    def release(self) -> None:
        """Let held calls go."""
        self._loop.call_soon_threadsafe(self.judge.release.set)

    def spec(self, **changed: Any) -> dict[str, Any]:
        """What to register as a judge."""
        return {
            "kind": "openai",
            "family": "scripted",
            "base_url": f"http://127.0.0.1:{self._port}/v1",
            "model": "scripted",
            "top_logprobs": 5,
            "max_concurrency": 4,
            "max_attempts": 1,
            "usd_per_million_input_tokens": USD_PER_MILLION,
            "usd_per_million_output_tokens": 0.0,
        } | changed

    def _serve(self) -> None:
        self._loop.run_until_complete(self._until_done())
        self._loop.close()

    async def _until_done(self) -> None:
        self._done = asyncio.Event()
        runner, self._port = await serve(self.judge, 0)
        self._ready.set()
        await self._done.wait()
        await runner.cleanup()
