"""A judge endpoint of ours that speaks `/v1/chat/completions` with log-probs and Anthropic's `/v1/messages`, prefers by
a rule and fails on request.

It reads the question as a model would, scores both responses by a rubric's checks, and leans to the better one, with a
pull towards what is shown first if told so. Every call is journalled, so that a test can count what was asked.

    python -m tests.scripted_judge --port 0 --journal calls.jsonl [--rubric rubric.json] [--first-pull 0.3] [--key KEY]

`PUT /script` sets what happens to the next calls: {"faults": ["500", "cut", ...], "repeat": false, "latency_s": 0}.
A call may choose its own fault with the header `X-Fault`, and a response with the text `[[fault:NAME]]` or
`[[fault:NAME:TIMES]]` suffers it on each call, or on the first TIMES calls of each of its questions.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import re
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import web

from app.rlaif.checks import NothingToCheck, score_completion
from app.rlaif.rendering import prompt_hash
from app.rlaif.rubric import Rubric
from tests.judge_faults import suffer
from workers.judges.bucket import Bucket

SHARPNESS = 6.0
_BLOCK = re.compile(r"^<<<\S+ (?P<name>prompt|reference|response(?: \w+)?)>>>\n(?P<data>.*)$", re.MULTILINE)
_IN_TEXT = re.compile(r"\[\[fault:(?P<name>[\w-]+)(?::(?P<times>\d+))?\]\]")
_DEFAULT_RUBRIC = Rubric.model_validate(
    {
        "criteria": [
            {"name": "polite", "description": "Is polite.", "check": {"kind": "words", "any_of": ["thank you"]}},
            {"name": "brief", "description": "Is brief.", "check": {"kind": "length", "unit": "words", "maximum": 20}},
        ]
    }
)


@dataclass
class Script:
    """What happens to calls: each takes the next fault; with `repeat` the list starts over when it ends."""

    faults: deque[str] = field(default_factory=deque)
    repeat: bool = False
    latency_s: float = 0.0

    def next_fault(self) -> str | None:
        if not self.faults:
            return None
        fault = self.faults.popleft()
        if self.repeat:
            self.faults.append(fault)
        return None if fault == "none" else fault


@dataclass
class ScriptedJudge:
    """The endpoint's state.

    `bodies` are the last requests, in the form of OpenAI. `first_pull` is added to the score difference in favour of
    what is shown first. `release` lets calls with the fault `held` go; with `gathering` no call is answered before so
    many have been in flight together. With a `limiter` the calls above its rate are answered 429, to wait a second.
    """

    limiter: Bucket | None = None
    rubric: Rubric = _DEFAULT_RUBRIC
    journal: Path | None = None
    key: str | None = None
    first_pull: float = 0.0
    script: Script = field(default_factory=Script)
    calls: list[dict[str, Any]] = field(default_factory=list)
    bodies: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=100))
    in_flight: int = 0
    most_in_flight: int = 0
    release: asyncio.Event = field(default_factory=asyncio.Event)
    gathering: int = 0
    _gathered: asyncio.Event = field(default_factory=asyncio.Event)
    _faults_suffered: Counter[str] = field(default_factory=Counter)

    def application(self) -> web.Application:
        app = web.Application(client_max_size=64 << 20)
        app.router.add_post("/v1/chat/completions", self.chat)
        app.router.add_post("/v1/messages", self.chat)
        app.router.add_put("/script", self.set_script)
        app.router.add_get("/journal", self.show_journal)
        return app

    async def set_script(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.script = Script(
            deque(body.get("faults", ())), bool(body.get("repeat", False)), float(body.get("latency_s", 0.0))
        )
        return web.Response(status=204)

    async def show_journal(self, _request: web.Request) -> web.Response:
        return web.json_response({"calls": self.calls, "most_in_flight": self.most_in_flight})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        if self.most_in_flight >= self.gathering:
            self._gathered.set()
        try:
            return await self._answer(request)
        finally:
            self.in_flight -= 1

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        anthropic = request.path == "/v1/messages"
        body = _with_system(await request.json()) if anthropic else await request.json()
        fault = request.headers.get("X-Fault") or self._fault_in_text(body) or self.script.next_fault()
        fault = fault or self._fault_of_haste()
        self._note(body, fault)
        await self._gathered.wait()
        if self.script.latency_s:
            await asyncio.sleep(self.script.latency_s)
        if not self._may_enter(request, anthropic=anthropic):
            fault = "401"
        completion = self._message(body) if anthropic else self._completion(body)
        return (
            web.json_response(completion)
            if fault is None
            else await suffer(fault, request, completion, release=self.release)
        )

    def _fault_of_haste(self) -> str | None:
        if self.limiter is None:
            return None
        if self.limiter.wait_s(1.0, now=time.monotonic()) > 0:
            return "429-seconds"
        self.limiter.take(1.0)
        return None

    def _may_enter(self, request: web.Request, *, anthropic: bool) -> bool:
        """Each provider wants its key in a header of its own, and Anthropic the version that is spoken."""
        if anthropic and "anthropic-version" not in request.headers:
            return False
        sent, wanted = request.headers.get("Authorization"), f"Bearer {self.key}"
        if anthropic:
            sent, wanted = request.headers.get("x-api-key"), f"{self.key}"
        return self.key is None or sent == wanted

    def _fault_in_text(self, body: dict[str, Any]) -> str | None:
        found = _IN_TEXT.search(body["messages"][1]["content"])
        if found is None:
            return None
        question = prompt_hash(body["messages"])
        self._faults_suffered[question] += 1
        times = found["times"]
        return found["name"] if times is None or self._faults_suffered[question] <= int(times) else None

    def _note(self, body: dict[str, Any], fault: str | None) -> None:
        call = {
            "at": datetime.now(UTC).isoformat(),
            "model": body["model"],
            "prompt_hash": prompt_hash(body["messages"]),
            "fault": fault,
        }
        self.calls.append(call)
        self.bodies.append(body)
        if self.journal is not None:
            with self.journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps(call) + "\n")

    def _message(self, body: dict[str, Any]) -> dict[str, Any]:
        """The answer in the shape of Anthropic's Messages API: by the tool where that must be called."""
        question = body["messages"][1]["content"]
        reply, _ = self._replied(body)
        block: dict[str, Any] = {"type": "text", "text": reply}
        if tool := body.get("tool_choice"):
            block = {"type": "tool_use", "id": "toolu_1", "name": tool["name"], "input": json.loads(reply)}
        return {
            "id": f"msg_{len(self.calls)}",
            "type": "message",
            "role": "assistant",
            "model": body["model"],
            "content": [block],
            "stop_reason": "tool_use" if tool else "end_turn",
            "usage": {
                "input_tokens": len(question) // 4,
                "output_tokens": 1,
                "cache_read_input_tokens": 0,
                "cache_creation_input_tokens": 0,
            },
        }

    def _completion(self, body: dict[str, Any]) -> dict[str, Any]:
        question = body["messages"][1]["content"]
        reply, logprobs = self._replied(body)
        choice: dict[str, Any] = {
            "index": 0,
            "message": {"role": "assistant", "content": reply},
            "finish_reason": "stop",
        }
        if body.get("logprobs") and logprobs:
            choice["logprobs"] = {"content": list(_tokens(reply, logprobs))}
        return {
            "id": f"chatcmpl-{len(self.calls)}",
            "object": "chat.completion",
            "created": int(datetime.now(UTC).timestamp()),
            "model": body["model"],
            "choices": [choice],
            "usage": {
                "prompt_tokens": len(question) // 4,
                "completion_tokens": 1,
                "total_tokens": len(question) // 4 + 1,
            },
        }

    def _replied(self, body: dict[str, Any]) -> tuple[str, dict[str, float] | None]:
        """What it says to whichever question is asked, and the log-probabilities of what it could have said."""
        rules, question = body["messages"][0]["content"], body["messages"][1]["content"]
        blocks = {match["name"]: json.loads(match["data"]) for match in _BLOCK.finditer(question)}
        scores = self._scores(blocks)
        if "response" in scores:
            number = str(round(1 + 9 * scores["response"]))
            return _as_asked(rules, "score", int(number), number), {number: math.log(0.8), "5": math.log(0.2)}
        if "response A" not in scores:
            return _ranking(scores), None
        logprobs = self._preference(scores)
        label = max(logprobs, key=lambda name: logprobs[name])
        return _as_asked(rules, "answer", label, label), logprobs

    def _scores(self, blocks: dict[str, Any]) -> dict[str, float]:
        """Of each response, by the name of its block, in the order shown."""
        prompt, reference = _text(blocks["prompt"], "user"), blocks.get("reference")
        named = {name: turns for name, turns in blocks.items() if name.startswith("response")}
        try:
            return {
                name: score_completion(self.rubric, _text(turns, "assistant"), prompt=prompt, reference=reference).total
                for name, turns in named.items()
            }
        except NothingToCheck:
            return dict.fromkeys(named, 0.0)

    def _preference(self, scores: dict[str, float]) -> dict[str, float]:
        """Log-probabilities of A, B and C that follow the scores of what is shown as A and B."""
        lead = SHARPNESS * (scores["response A"] - scores["response B"] + self.first_pull)
        weights = {"A": math.exp(lead / 2), "B": math.exp(-lead / 2), "C": 1.5 if abs(lead) < 1e-9 else 0.05}
        total = sum(weights.values())
        return {name: math.log(weight / total) for name, weight in weights.items()}


def _with_system(body: dict[str, Any]) -> dict[str, Any]:
    """A body of Anthropic's with the system message among the others, as OpenAI's have it."""
    return body | {"messages": [{"role": "system", "content": body["system"]}, *body["messages"]]}


def _as_asked(rules: str, key: str, value: str | int, plain: str) -> str:
    """The bare answer, or the JSON object that the rules ask for."""
    if "JSON object" not in rules:
        return plain
    notes = {"notes": [{"response": "A", "turn": 1, "note": "Looked at."}]} if '"notes"' in rules else {}
    return json.dumps({**notes, key: value})


def _ranking(scores: dict[str, float]) -> str:
    """Ids by falling score; equal scores share a list."""
    tiers: dict[float, list[str]] = {}
    for name, score in scores.items():
        tiers.setdefault(score, []).append(name.removeprefix("response "))
    return json.dumps({"ranking": [tiers[score] for score in sorted(tiers, reverse=True)]})


def _tokens(reply: str, logprobs: dict[str, float]) -> Iterator[dict[str, Any]]:
    """The reply's tokens: the answer by itself, with what could have stood in its place."""
    answer = next(name for name in sorted(logprobs, key=lambda name: logprobs[name], reverse=True) if name in reply)
    before, _, behind = reply.rpartition(answer)
    top = [{"token": name, "logprob": value, "bytes": list(name.encode())} for name, value in logprobs.items()]
    for text in (before, answer, behind):
        if text:
            alternatives = top if text == answer else [{"token": text, "logprob": 0.0, "bytes": None}]
            yield {"token": text, "logprob": alternatives[0]["logprob"], "top_logprobs": alternatives}


def _text(turns: list[dict[str, Any]], role: str) -> str:
    return "\n".join(turn["content"] for turn in turns if turn["role"] == role and turn.get("content"))


async def serve(judge: ScriptedJudge, port: int) -> tuple[web.AppRunner, int]:
    """Start on the loopback; gives the runner to clean up and the port that was bound."""
    runner = web.AppRunner(judge.application(), handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    return runner, runner.addresses[0][1]


def _read_rubric(path: Path) -> Rubric:
    """A rubric as the API takes it: its content, and a name that a judge has no use for."""
    content = json.loads(path.read_text(encoding="utf-8"))
    content.pop("name", None)
    return Rubric.model_validate(content)


async def _main(arguments: argparse.Namespace) -> None:
    rubric = _read_rubric(arguments.rubric) if arguments.rubric else _DEFAULT_RUBRIC
    judge = ScriptedJudge(rubric=rubric, journal=arguments.journal, key=arguments.key, first_pull=arguments.first_pull)
    _, port = await serve(judge, arguments.port)
    print(f"http://127.0.0.1:{port}/v1", flush=True)  # noqa: T201  its output
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--journal", type=Path)
    parser.add_argument("--rubric", type=Path)
    parser.add_argument("--key")
    parser.add_argument("--first-pull", type=float, default=0.0)
    asyncio.run(_main(parser.parse_args()))
