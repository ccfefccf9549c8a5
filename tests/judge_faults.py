"""What can go wrong at a judge endpoint, each by the name that a test scripts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

from aiohttp import web

HUGE_BYTES = 10 << 20

Fault = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]
_FAULTS: dict[str, Fault] = {}


def _fault(name: str) -> Callable[[Fault], Fault]:
    def register(function: Fault) -> Fault:
        _FAULTS[name] = function
        return function

    return register


async def suffer(
    fault: str, request: web.Request, completion: dict[str, Any], *, release: asyncio.Event
) -> web.StreamResponse:
    """Answer with the fault instead of the completion: a status code, `held` until released, or a name below."""
    if fault.isdecimal():
        return web.json_response({"error": {"message": f"scripted {fault}"}}, status=int(fault))
    if fault == "held":
        await release.wait()
        return web.json_response(completion)
    return await _FAULTS[fault](request, completion)


@_fault("hang")
async def _hang(_request: web.Request, _completion: dict[str, Any]) -> web.StreamResponse:
    await asyncio.sleep(3600)
    raise AssertionError("nobody waits so long")


@_fault("429-seconds")
async def _limited(_request: web.Request, _completion: dict[str, Any]) -> web.StreamResponse:
    return web.json_response({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": "1"})


@_fault("429-date")
async def _limited_date(_request: web.Request, _completion: dict[str, Any]) -> web.StreamResponse:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    return web.json_response({"error": {"message": "slow down"}}, status=429, headers={"Retry-After": date})


@_fault("429-long")
async def _limited_long(_request: web.Request, _completion: dict[str, Any]) -> web.StreamResponse:
    return web.json_response({"error": {"message": "quota"}}, status=429, headers={"Retry-After": "7200"})


@_fault("503-seconds")
async def _overloaded(_request: web.Request, _completion: dict[str, Any]) -> web.StreamResponse:
    return web.json_response({"error": {"message": "overloaded"}}, status=503, headers={"Retry-After": "15"})


@_fault("400-filter")
async def _filter(_request: web.Request, _completion: dict[str, Any]) -> web.StreamResponse:
    return _bad_request("content_filter", "The response was filtered due to the prompt triggering the policy.")


@_fault("400-policy")
async def _policy(_request: web.Request, _completion: dict[str, Any]) -> web.StreamResponse:
    return _bad_request("content_policy_violation", "Your request was rejected.")


@_fault("400-azure")
async def _azure(_request: web.Request, _completion: dict[str, Any]) -> web.StreamResponse:
    return _bad_request("400", "Filtered.", innererror={"code": "ResponsibleAIPolicyViolation"})


@_fault("400-context")
async def _context(_request: web.Request, _completion: dict[str, Any]) -> web.StreamResponse:
    return _bad_request("context_length_exceeded", "Please reduce the length of the messages.")


@_fault("400-context-words")
async def _context_words(_request: web.Request, _completion: dict[str, Any]) -> web.StreamResponse:
    return _bad_request("BadRequestError", "This model's maximum context length is 4096 tokens.")


@_fault("garbage")
async def _garbage(_request: web.Request, _completion: dict[str, Any]) -> web.StreamResponse:
    return web.Response(body=bytes(range(256)) * 8, content_type="application/json")


@_fault("cut")
async def _cut(_request: web.Request, completion: dict[str, Any]) -> web.StreamResponse:
    text = json.dumps(completion)
    return web.Response(text=text[: len(text) // 2], content_type="application/json")


@_fault("schema")
async def _schema(_request: web.Request, _completion: dict[str, Any]) -> web.StreamResponse:
    return web.json_response({"choices": [{"text": "A"}], "object": "text_completion"})


@_fault("huge")
async def _huge(request: web.Request, _completion: dict[str, Any]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for _ in range(HUGE_BYTES >> 16):
        await response.write(b" " * (1 << 16))
    return response


@_fault("endless")
async def _endless(request: web.Request, _completion: dict[str, Any]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    while True:
        await response.write(b" " * (1 << 16))
        await asyncio.sleep(0.01)


@_fault("drip")
async def _drip(request: web.Request, completion: dict[str, Any]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    for character in json.dumps(completion).encode():
        await response.write(bytes([character]))
        await asyncio.sleep(0.1)
    return response


@_fault("reset")
async def _reset(request: web.Request, _completion: dict[str, Any]) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"choices"')
    assert request.transport is not None
    request.transport.abort()
    return response


@_fault("redirect")
async def _redirect(_request: web.Request, _completion: dict[str, Any]) -> web.StreamResponse:
    raise web.HTTPTemporaryRedirect("http://127.0.0.1:1/v1/chat/completions")


@_fault("echo-key")
async def _echo_key(request: web.Request, _completion: dict[str, Any]) -> web.StreamResponse:
    key = request.headers.get("x-api-key") or request.headers["Authorization"]
    return web.json_response({"error": {"message": f"bad: {key}"}}, status=400)


@_fault("echo-key-in-reply")
async def _echo_key_in_reply(request: web.Request, completion: dict[str, Any]) -> web.StreamResponse:
    return _said(completion, f"Who asks me with {request.headers['Authorization']}?")


@_fault("refusal")
async def _refusal(_request: web.Request, completion: dict[str, Any]) -> web.StreamResponse:
    return _said(completion, "I'm sorry, but I can't compare these.")


@_fault("refusal-field")
async def _refusal_field(_request: web.Request, completion: dict[str, Any]) -> web.StreamResponse:
    if "choices" not in completion:
        return web.json_response(completion | {"content": [], "stop_reason": "refusal"})
    completion["choices"][0]["message"] |= {"content": None, "refusal": "I can't help with that."}
    return web.json_response(completion)


@_fault("filtered")
async def _filtered(_request: web.Request, completion: dict[str, Any]) -> web.StreamResponse:
    return _said(completion, "", finish_reason="content_filter")


@_fault("rambling")
async def _rambling(_request: web.Request, completion: dict[str, Any]) -> web.StreamResponse:
    return _said(completion, "Both have merits, though A might be")


@_fault("length")
async def _length(_request: web.Request, completion: dict[str, Any]) -> web.StreamResponse:
    return _said(completion, "Let me think about this step", finish_reason="length")


@_fault("note-on-no-turn")
async def _note_on_no_turn(_request: web.Request, completion: dict[str, Any]) -> web.StreamResponse:
    notes = [{"response": "A", "turn": 99, "note": "Looked at."}]
    return _said(completion, json.dumps({"notes": notes, "answer": "A"}))


@_fault("no-usage")
async def _no_usage(_request: web.Request, completion: dict[str, Any]) -> web.StreamResponse:
    del completion["usage"]
    return web.json_response(completion)


def _bad_request(code: str, message: str, **more: Any) -> web.Response:
    return web.json_response({"error": {"code": code, "message": message, **more}}, status=400)


def _said(completion: dict[str, Any], text: str, *, finish_reason: str = "stop") -> web.Response:
    if "choices" not in completion:
        return web.json_response(completion | _anthropic(text, finish_reason))
    choice = completion["choices"][0]
    choice["message"]["content"] = text
    choice["finish_reason"] = finish_reason
    choice.pop("logprobs", None)
    return web.json_response(completion)


def _anthropic(text: str, finish_reason: str) -> dict[str, Any]:
    """What a message of Anthropic's says instead."""
    stop = {"stop": "end_turn", "length": "max_tokens", "content_filter": "refusal"}[finish_reason]
    return {"content": [{"type": "text", "text": text}] if text else [], "stop_reason": stop}
