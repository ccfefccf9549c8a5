"""Exchanges of a production system, read from what it logs: OpenTelemetry's GenAI spans, or OpenAI messages.

Of each exchange the prompt ends with the last message of the user; what came after it is the response, tool calls and
their results included. Conventions: https://opentelemetry.io/docs/specs/semconv/gen-ai/ (since 1.37, where messages
are attributes) and https://opentelemetry.io/docs/specs/otlp/ (JSON encoding).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from functools import partial
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from app import json_text
from app.rlaif.messages import Chat, Message, Role, as_response

_INPUT, _OUTPUT = "gen_ai.input.messages", "gen_ai.output.messages"
_NANOSECONDS = re.compile("[0-9]{1,20}")
_OPERATION = "gen_ai.client.inference.operation.details"


class TraceFormat(StrEnum):
    """`otel`: OTLP JSON or single spans; `openai`: rows with `messages`, or with `request` and `response`."""

    OTEL = "otel"
    OPENAI = "openai"


class Unusable(StrEnum):
    """Why an exchange is no use as a prompt. It is counted, and stops nothing."""

    NO_MESSAGES = "no_messages"
    NO_USER_MESSAGE = "no_user_message"
    NO_ANSWER = "no_answer"
    NOT_TEXT = "not_text"
    NOT_VALID = "not_valid"


class Trace(BaseModel):
    """One exchange: what was asked, what was answered, by which model and when."""

    model_config = ConfigDict(frozen=True)

    messages: Annotated[tuple[Message, ...], Field(min_length=1, max_length=1000)]
    response: Annotated[Chat, AfterValidator(as_response)]
    tools: Annotated[tuple[dict[str, Any], ...], Field(max_length=128)] | None = None
    model: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    at: datetime | None = None

    @property
    def prompt_hash(self) -> str:
        """SHA-256 over what was asked: the same question is the same trace, whatever was answered."""
        asked = [[message.as_dict() for message in self.messages], self.tools and list(self.tools)]
        return hashlib.sha256(json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


class _NoUse(Exception):
    def __init__(self, reason: Unusable) -> None:
        super().__init__(reason.value)
        self.reason = reason


def traces(value: Any, format_: TraceFormat) -> Iterator[Trace | Unusable]:
    """What one line's JSON value holds. Raises ValueError for a line that is not of the format at all."""
    if not isinstance(value, dict):
        raise ValueError("each line is a JSON object")
    yield from map(_trace, _openai(value) if format_ is TraceFormat.OPENAI else _otel(value))


def _trace(read: Callable[[], dict[str, Any]]) -> Trace | Unusable:
    try:
        row = read()
        said = list(_merged(row))
        end = max((place for place, message in enumerate(said) if message.get("role") == Role.USER), default=None)
        if end is None:
            return Unusable.NO_MESSAGES if not said else Unusable.NO_USER_MESSAGE
        if not any(message.get("role") == Role.ASSISTANT for message in said[end + 1 :]):
            return Unusable.NO_ANSWER
        return Trace(
            messages=said[: end + 1],
            response=said[end + 1 :],
            tools=row.get("tools") or None,
            model=row.get("model") or None,
            at=row.get("at"),
        )
    except _NoUse as skip:
        return skip.reason
    except ValidationError:
        return Unusable.NOT_VALID


def _merged(row: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for message in row["messages"]:
        if not isinstance(message, dict):
            raise _NoUse(Unusable.NOT_VALID)
        yield {name: value for name, value in _spoken(message).items() if value is not None}


def _spoken(message: dict[str, Any]) -> dict[str, Any]:
    """OpenAI's content parts as the text that they are."""
    known = {name: message.get(name) for name in ("role", "content", "name", "tool_calls", "tool_call_id")}
    if known["role"] == "developer":
        known["role"] = Role.SYSTEM
    if isinstance(known["content"], list):
        known["content"] = "".join(_text_of(part) for part in known["content"])
    if isinstance(known["tool_calls"], list):
        known["tool_calls"] = [_known_call(call) for call in _objects(known["tool_calls"])] or None
    return known


def _known_call(call: Mapping[str, Any]) -> dict[str, Any]:
    """A call without what providers add to it."""
    function = call.get("function")
    named = {name: function.get(name) for name in ("name", "arguments")} if isinstance(function, dict) else function
    return {"id": call.get("id"), "function": named}


def _text_of(part: Any) -> str:
    text = part.get("text") if isinstance(part, dict) and part.get("type") in ("text", "input_text") else None
    if not isinstance(text, str):
        raise _NoUse(Unusable.NOT_TEXT)
    return text


def _openai(row: dict[str, Any]) -> Iterator[Callable[[], dict[str, Any]]]:
    """A conversation, or what an API was sent and answered."""
    request, response = row.get("request"), row.get("response")
    if isinstance(request, dict) and isinstance(response, dict):
        choices = response.get("choices") or [{}]
        answer = choices[0].get("message") if isinstance(choices, list) and isinstance(choices[0], dict) else None
        messages = [*_listed(request.get("messages"), "request.messages"), *([answer] if answer else ())]
        row = {**request, **{name: response[name] for name in ("model", "created") if name in response}}
        row["messages"] = messages
    elif "messages" not in row:
        raise ValueError("an OpenAI line has `messages`, or `request` and `response`: see docs/evaluation.md")
    exchange = {
        "messages": _listed(row["messages"], "messages"),
        "tools": row.get("tools"),
        "model": row.get("model"),
        "at": _seconds(row.get("created")),
    }
    yield lambda: exchange


def _listed(value: Any, field: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"`{field}` is a list of chat messages")
    return value


def _seconds(value: Any) -> datetime | None:
    return datetime.fromtimestamp(value, UTC) if isinstance(value, int | float) and 0 < value < 1e11 else None


def _otel(value: dict[str, Any]) -> Iterator[Callable[[], dict[str, Any]]]:
    """Every span, or event, of a generative model."""
    exported = "resourceSpans" in value or "resourceLogs" in value
    if not exported and "attributes" not in value:
        raise ValueError("an OpenTelemetry line has `resourceSpans`, `resourceLogs`, or is a span with `attributes`")
    for span in _exported(value) if exported else [value]:
        attributes = _attributes(span.get("attributes"))
        for event in _objects(span.get("events")):
            if (event.get("name") or event.get("eventName")) == _OPERATION:
                attributes |= _attributes(event.get("attributes"))
        if any(name.startswith("gen_ai.") for name in attributes):
            yield partial(_of_attributes, attributes, span)


def _exported(value: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Spans and log records of an export request."""
    for outer, inner, leaf in (("resourceSpans", "scopeSpans", "spans"), ("resourceLogs", "scopeLogs", "logRecords")):
        for resource in _objects(value.get(outer)):
            for scope in _objects(resource.get(inner)):
                yield from _objects(scope.get(leaf))


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _attributes(value: Any) -> dict[str, Any]:
    """OTLP's key-value pairs, or the object of an SDK's console exporter."""
    if isinstance(value, dict):
        return dict(value)
    return {str(pair.get("key")): _plain(pair.get("value")) for pair in _objects(value)}


def _plain(value: Any) -> Any:
    """OTLP's AnyValue as JSON."""
    if not isinstance(value, dict):
        return value
    if "arrayValue" in value:
        return [_plain(item) for item in _objects(_values(value["arrayValue"]))]
    if "kvlistValue" in value:
        return _attributes(_values(value["kvlistValue"]))
    return next(iter(value.values()), None)


def _values(listed: Any) -> Any:
    return listed.get("values") if isinstance(listed, dict) else None


def _of_attributes(attributes: Mapping[str, Any], span: Mapping[str, Any]) -> dict[str, Any]:
    said = [*_instructions(attributes), *_of_parts(_json(attributes.get(_INPUT)))]
    said += list(_of_parts(_json(attributes.get(_OUTPUT))[:1]))  # further choices answer the same prompt
    return {
        "messages": said,
        "tools": [_tool(tool) for tool in _objects(_json(attributes.get("gen_ai.tool.definitions")))],
        "model": attributes.get("gen_ai.response.model") or attributes.get("gen_ai.request.model"),
        "at": _time(span),
    }


def _json(value: Any) -> list[Any]:
    """What a span may hold as JSON text, and an event holds as it is."""
    if isinstance(value, str):
        try:
            value = json_text.parse(value.encode())
        except ValueError:
            return []
    return value if isinstance(value, list) else []


def _instructions(attributes: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    texts = [part.get("content") for part in _objects(_json(attributes.get("gen_ai.system_instructions")))]
    if said := [text for text in texts if isinstance(text, str)]:
        yield {"role": "system", "content": "\n".join(said)}


def _of_parts(messages: Sequence[Any]) -> Iterator[dict[str, Any]]:
    """Messages of parts as OpenAI's: a tool's results are a message each."""
    for message in _objects(messages):
        parts = _objects(message.get("parts"))
        results = [part for part in parts if part.get("type") == "tool_call_response"]
        yield from map(_result, results)
        calls = [_call(part) for part in parts if part.get("type") == "tool_call"]
        texts = list(_texts(parts))
        if texts or calls or not results:
            yield {"role": message.get("role"), "content": "\n".join(texts) or None, "tool_calls": calls or None}


def _texts(parts: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """What was said; reasoning was not, and an image or a file cannot be judged."""
    for part in parts:
        match part.get("type"):
            case "text" if isinstance(part.get("content"), str):
                yield str(part["content"])
            case "reasoning" | "tool_call" | "tool_call_response":
                continue
            case _:
                raise _NoUse(Unusable.NOT_TEXT)


def _call(part: Mapping[str, Any]) -> dict[str, Any]:
    arguments = part.get("arguments")
    said = arguments if isinstance(arguments, str | dict) else json.dumps(arguments or {})
    return {"id": part.get("id"), "function": {"name": part.get("name"), "arguments": said}}


def _result(part: Mapping[str, Any]) -> dict[str, Any]:
    found = part.get("response", part.get("result"))
    return {
        "role": "tool",
        "content": found if isinstance(found, str) else json.dumps(found, sort_keys=True),
        "tool_call_id": part.get("id"),
    }


def _tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    """A definition in OpenAI's shape, in which chat templates want it."""
    if "function" in tool:
        return dict(tool)
    return {"type": "function", "function": {name: value for name, value in tool.items() if name != "type"}}


def _time(span: Mapping[str, Any]) -> datetime | None:
    nanoseconds = span.get("startTimeUnixNano") or span.get("timeUnixNano")
    if nanoseconds is not None:
        return _seconds(int(nanoseconds) / 1e9) if _NANOSECONDS.fullmatch(str(nanoseconds)) else None
    started = span.get("start_time")
    try:
        return None if started is None else datetime.fromisoformat(str(started)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
