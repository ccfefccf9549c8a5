"""The endpoint of `benchmarks.judge_throughput`: answers after a scripted latency, and does little else.

A bare protocol on uvloop, so that it costs a fraction of any client: it looks for the end of a request, waits, and
writes one of a few prepared replies. `GET /stats` says what it saw and what CPU it took. With `--rate` it enforces a
limit by a token bucket and answers what is above it with 429 and `Retry-After`.

    python -m benchmarks.judge_endpoint --shape constant --latency 0.2 [--rate 400] [--reply labels|prometheus]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import asdict, dataclass, field
from itertools import cycle
from typing import Any, cast

import uvloop

from benchmarks.judge_latency import Latency, Shape

BIN_S = 0.5
RETRY_AFTER_S = 1
_END = b"\r\n\r\n"
_LABELS = ("A", "B", "A", "C", "B")
_LOGPROBS = {"A": (-0.2, -1.9, -4.0), "B": (-2.1, -0.2, -3.5), "C": (-1.5, -1.4, -0.7)}


@dataclass(slots=True)
class Seen:
    """What the endpoint saw. Times are seconds since the first call; `answered` and `refused` count by BIN_S."""

    calls: int = 0
    in_flight: int = 0
    most_in_flight: int = 0
    last_call_s: float = 0.0
    last_answer_s: float = 0.0
    cpu_s: float = 0.0
    answered: dict[int, int] = field(default_factory=dict)
    refused: dict[int, int] = field(default_factory=dict)


class Bucket:
    """A token bucket: `rate` calls a second, and a tenth of a second's worth at once."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = max(1.0, rate / 10)
        self._tokens = self._most
        self._filled_at = time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self._tokens = min(self._most, self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Endpoint:
    """What all connections share."""

    def __init__(self, latency: Latency, *, rate: float | None, reply: str) -> None:
        self.seen = Seen()
        self._latencies = latency.draws()
        self._bucket = None if rate is None else Bucket(rate)
        texts = _LABELS if reply == "labels" else [f"Feedback: It is better. [RESULT] {label}" for label in "AB"]
        self._plain = cycle([_reply(text, logprobs=False) for text in texts])
        self._with_logprobs = cycle([_reply(text, logprobs=reply == "labels") for text in texts])
        self._began_at: float | None = None
        self._loop = asyncio.get_running_loop()

    def take(self, connection: Connection, request: bytes) -> None:
        if request.startswith(b"GET"):
            connection.write(self._stats())
            return
        now = self._elapsed()
        self.seen.calls += 1
        self.seen.last_call_s = now
        if self._bucket is not None and not self._bucket.take():
            _count(self.seen.refused, now)
            connection.write(_REFUSED)
            return
        self.seen.in_flight += 1
        self.seen.most_in_flight = max(self.seen.most_in_flight, self.seen.in_flight)
        replies = self._with_logprobs if b'"logprobs"' in request else self._plain
        self._loop.call_later(next(self._latencies), self._answer, connection, next(replies))

    def _answer(self, connection: Connection, reply: bytes) -> None:
        self.seen.in_flight -= 1
        self.seen.last_answer_s = self._elapsed()
        _count(self.seen.answered, self.seen.last_answer_s)
        connection.write(reply)

    def _elapsed(self) -> float:
        now = self._loop.time()
        if self._began_at is None:
            self._began_at = now
        return now - self._began_at

    def _stats(self) -> bytes:
        self.seen.cpu_s = time.process_time()
        return _response("200 OK", asdict(self.seen))


class Connection(asyncio.Protocol):
    """One client's connection, kept alive; requests come one after the other."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._transport: asyncio.Transport | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None

    def data_received(self, data: bytes) -> None:
        self._buffer = self._buffer + data if self._buffer else data
        while (end := self._buffer.find(_END)) >= 0:
            size = end + len(_END) + _content_length(self._buffer[:end])
            if len(self._buffer) < size:
                return
            request, self._buffer = self._buffer[:size], self._buffer[size:]
            self._endpoint.take(self, request)

    def write(self, response: bytes) -> None:
        """A client that has gone in the meantime misses its answer."""
        if self._transport is not None:
            self._transport.write(response)


def _count(bins: dict[int, int], now: float) -> None:
    bins[int(now / BIN_S)] = bins.get(int(now / BIN_S), 0) + 1


def _content_length(head: bytes) -> int:
    head = head.lower()
    at = head.find(b"\r\ncontent-length:")
    return 0 if at < 0 else int(head[at + 17 :].partition(b"\r\n")[0])


def _response(status: str, body: dict[str, Any], *headers: str) -> bytes:
    content = json.dumps(body).encode()
    lines = (f"HTTP/1.1 {status}", "Content-Type: application/json", f"Content-Length: {len(content)}", *headers)
    return "\r\n".join(lines).encode() + _END + content


def _reply(text: str, *, logprobs: bool) -> bytes:
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": text, "refusal": None},
        "finish_reason": "stop",
        "logprobs": _logprobs(text) if logprobs else None,
    }
    return _response(
        "200 OK",
        {
            "id": "chatcmpl-benchmark",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": "scripted",
            "choices": [choice],
            "usage": {"prompt_tokens": 600, "completion_tokens": 1, "total_tokens": 601},
        },
    )


def _logprobs(label: str) -> dict[str, Any]:
    alternatives = dict(zip("ABC", _LOGPROBS[label], strict=True)) | {" A": -6.0, "The": -7.0}
    top = [{"token": token, "logprob": value, "bytes": list(token.encode())} for token, value in alternatives.items()]
    return {"content": [{"token": label, "logprob": alternatives[label], "bytes": [ord(label)], "top_logprobs": top}]}


_REFUSED = _response(
    "429 Too Many Requests",
    {"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}},
    f"Retry-After: {RETRY_AFTER_S}",
)


async def _main(arguments: argparse.Namespace) -> None:
    latency = Latency(Shape(arguments.shape), arguments.latency, arguments.seed)
    endpoint = Endpoint(latency, rate=arguments.rate, reply=arguments.reply)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(endpoint), "127.0.0.1", 0, backlog=4096)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=[shape.value for shape in Shape], default=Shape.CONSTANT)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--reply", choices=("labels", "prometheus"), default="labels")
    uvloop.run(_main(parser.parse_args()))
