"""A scripted judge running in the test's own loop, and clients of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from app.rlaif.judges import AnthropicJudge, OpenAIJudge
from app.rlaif.questions import Question
from tests.judges.questions import RUBRIC
from tests.scripted_judge import ScriptedJudge, serve
from workers.judges.build import dialect_of
from workers.judges.protocol import Judge, JudgedAnswer
from workers.judges.remote import EndpointJudge

KEY = "canary-key-123"
PROVIDER: ContextVar[str] = ContextVar("PROVIDER", default="openai")
"""Whose API the endpoint is called by; the fixture `provider` runs a test with each."""


@dataclass(frozen=True)
class Running:
    """The endpoint's state, its address, and which provider it plays."""

    judge: ScriptedJudge
    base_url: str
    provider: str = "openai"

    def client(
        self, *, api_key: str | None = KEY, may_spend: Callable[[], bool] = lambda: True, **changes: Any
    ) -> EndpointJudge:
        """A client with two attempts of one second; `changes` are fields of its configuration."""
        settings: dict[str, Any] = {
            "family": "scripted",
            "base_url": self.base_url,
            "model": "scripted-1",
            "secret": "judge-key",
            "max_attempts": 2,
            "timeout_s": 1.0,
            "question_timeout_s": 20.0,
            "usd_per_million_input_tokens": 2.0,
            "usd_per_million_output_tokens": 8.0,
        }
        spec = _spec(self.provider, settings | changes)
        return EndpointJudge(spec, dialect_of(spec), api_key=api_key, may_spend=may_spend, private_networks=())


def _spec(provider: str, settings: dict[str, Any]) -> OpenAIJudge | AnthropicJudge:
    return AnthropicJudge(**settings) if provider == "anthropic" else OpenAIJudge(**({"top_logprobs": 5} | settings))


@asynccontextmanager
async def running(*, first_pull: float = 0.0, port: int = 0) -> AsyncIterator[Running]:
    judge = ScriptedJudge(rubric=RUBRIC, key=KEY, first_pull=first_pull)
    runner, bound = await serve(judge, port)
    try:
        yield Running(judge, f"http://127.0.0.1:{bound}/v1", PROVIDER.get())
    finally:
        await runner.cleanup()


async def answers(judge: Judge, questions: Iterable[Question]) -> list[JudgedAnswer]:
    """Every answer, in the order in which they came; the judge is closed."""
    given: list[JudgedAnswer] = []
    await collect(judge, questions, given)
    return given


async def collect(judge: Judge, questions: Iterable[Question], given: list[JudgedAnswer]) -> None:
    """Put every answer into `given` as it comes, so that those before an error are there; the judge is closed."""
    async with aclosing(judge):
        async for judged in judge.judge(questions):
            given += judged.verdicts()
