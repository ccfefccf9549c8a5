"""Exchanges read from what production systems log: what was asked ends with the user's last message."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.traces import Trace, TraceFormat, Unusable, traces

ASKED = {"role": "user", "content": "Where is my parcel?"}
ANSWERED = {"role": "assistant", "content": "On its way."}
CALL = {"id": "1", "type": "function", "function": {"name": "track", "arguments": '{"id": 7}'}, "index": 0}
FOUND = {"role": "tool", "tool_call_id": "1", "content": "Leeds"}


def read(value: Any, format_: TraceFormat = TraceFormat.OPENAI) -> list[Trace | Unusable]:
    return list(traces(value, format_))


def one(value: Any, format_: TraceFormat = TraceFormat.OPENAI) -> Trace:
    (found,) = read(value, format_)
    assert isinstance(found, Trace)
    return found


def said(role: str, *parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"role": role, "parts": list(parts), **more}


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "content": content}


INPUT = [said("user", text("Where is my parcel?"))]
OUTPUT = [said("assistant", text("On its way."), finish_reason="stop")]


def span(**attributes: Any) -> dict[str, Any]:
    named = {"gen_ai.input.messages": INPUT, "gen_ai.output.messages": OUTPUT, "gen_ai.request.model": "gpt-5"}
    return {"name": "chat gpt-5", "attributes": named | {f"gen_ai.{key}": value for key, value in attributes.items()}}


class TestOpenAI:
    def test_conversation_ends_with_the_users_last_message(self) -> None:
        system, before = {"role": "developer", "content": "Be brief."}, {"role": "user", "content": "Hello"}
        trace = one({"messages": [system, before, ANSWERED, ASKED, ANSWERED], "model": "m", "created": 1_700_000_000})
        assert [message.role for message in trace.messages] == ["system", "user", "assistant", "user"]
        assert (trace.response, trace.model) == ("On its way.", "m")
        assert trace.at == datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)

    def test_request_and_response_are_one_exchange(self) -> None:
        request = {"messages": [ASKED], "tools": [{"type": "function"}], "model": "alias"}
        trace = one({"request": request, "response": {"choices": [{"message": ANSWERED}], "model": "gpt-5-2026"}})
        assert (trace.response, trace.model, trace.tools) == ("On its way.", "gpt-5-2026", ({"type": "function"},))

    def test_tool_calls_are_part_of_the_response(self) -> None:
        calling = {"role": "assistant", "content": None, "tool_calls": [CALL], "refusal": None}
        trace = one({"messages": [ASKED, calling, FOUND, ANSWERED]})
        assert not isinstance(trace.response, str)
        assert [turn.role for turn in trace.response] == ["assistant", "tool", "assistant"]

    def test_content_parts_are_a_text(self) -> None:
        parts = {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}
        assert one({"messages": [parts, ANSWERED]}).messages[0].content == "ab"

    @pytest.mark.parametrize(
        ("messages", "reason"),
        [
            ([], Unusable.NO_MESSAGES),
            ([ANSWERED], Unusable.NO_USER_MESSAGE),
            ([ASKED], Unusable.NO_ANSWER),
            ([ASKED, {"role": "assistant", "content": ""}], Unusable.NOT_VALID),
            ([{"role": "user", "content": [{"type": "image_url"}]}, ANSWERED], Unusable.NOT_TEXT),
            ([{"role": "bard", "content": "?"}, ASKED, ANSWERED], Unusable.NOT_VALID),
            (["text", ASKED, ANSWERED], Unusable.NOT_VALID),
        ],
    )
    def test_what_cannot_serve_is_counted_by_its_reason(self, messages: list[Any], reason: Unusable) -> None:
        assert read({"messages": messages}) == [reason]

    @pytest.mark.parametrize("row", [{}, {"messages": "hi"}, [], 7, {"request": {}, "response": {}}])
    def test_another_format_is_refused(self, row: Any) -> None:
        with pytest.raises(ValueError, match=r"line|messages"):
            read(row)


class TestOpenTelemetry:
    def test_span_with_structured_or_serialised_messages(self) -> None:
        plain = one(span(), TraceFormat.OTEL)
        dumped = span(**{"input.messages": json.dumps(INPUT), "output.messages": json.dumps(OUTPUT)})
        assert one(dumped, TraceFormat.OTEL) == plain
        assert (plain.messages[-1].content, plain.response, plain.model) == (
            "Where is my parcel?",
            "On its way.",
            "gpt-5",
        )

    def test_otlp_export_holds_many_spans(self) -> None:
        attributes = [
            {"key": "gen_ai.input.messages", "value": {"stringValue": json.dumps(INPUT)}},
            {"key": "gen_ai.output.messages", "value": {"arrayValue": {"values": [_any(OUTPUT[0])]}}},
        ]
        spans = [
            {"name": "chat", "startTimeUnixNano": "1700000000000000000", "attributes": attributes},
            {"name": "GET /", "attributes": [{"key": "http.method", "value": {"stringValue": "GET"}}]},
        ]
        trace = one({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}, TraceFormat.OTEL)
        assert (trace.response, trace.at) == ("On its way.", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC))

    def test_messages_may_be_on_the_spans_event(self) -> None:
        event = {"name": "gen_ai.client.inference.operation.details", "attributes": span()["attributes"]}
        assert one({"attributes": {}, "events": [event]}, TraceFormat.OTEL).response == "On its way."

    def test_instructions_tools_calls_and_results(self) -> None:
        call = {"type": "tool_call", "id": "1", "name": "track", "arguments": {"id": 7}}
        result = {"type": "tool_call_response", "id": "1", "response": {"place": "Leeds"}}
        row = span(
            **{
                "input.messages": [*INPUT, said("assistant", call), said("tool", result)],
                "system_instructions": [text("Be brief.")],
                "tool.definitions": [{"type": "function", "name": "track", "parameters": {}}],
                "output.messages": [said("assistant", {"type": "reasoning", "content": "hm"}, text("In Leeds."))],
            }
        )
        trace = one(row, TraceFormat.OTEL)
        assert [message.role for message in trace.messages] == ["system", "user"]
        assert trace.tools == ({"type": "function", "function": {"name": "track", "parameters": {}}},)
        assert not isinstance(trace.response, str)
        assert [turn.content for turn in trace.response] == [None, '{"place": "Leeds"}', "In Leeds."]

    def test_an_image_cannot_serve(self) -> None:
        picture = said("user", {"type": "uri", "modality": "image", "uri": "https://x"}, text("what is this?"))
        assert read(span(**{"input.messages": [picture]}), TraceFormat.OTEL) == [Unusable.NOT_TEXT]

    def test_older_conventions_have_no_messages(self) -> None:
        assert read({"attributes": {"gen_ai.system": "openai"}}, TraceFormat.OTEL) == [Unusable.NO_MESSAGES]
        assert read({"attributes": {"http.method": "GET"}}, TraceFormat.OTEL) == []

    def test_one_that_cannot_serve_does_not_hide_the_next(self) -> None:
        spans = [span(**{"input.messages": [said("user", {"type": "blob"})]}), span()]
        found = read({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}, TraceFormat.OTEL)
        assert [isinstance(each, Trace) for each in found] == [False, True]

    def test_another_format_is_refused(self) -> None:
        with pytest.raises(ValueError, match="resourceSpans"):
            read({"messages": []}, TraceFormat.OTEL)


class TestHash:
    def test_is_of_the_question_alone(self) -> None:
        one_answer, other = (
            one({"messages": [ASKED, ANSWERED]}),
            one({"messages": [ASKED, {**ANSWERED, "content": "?"}]}),
        )
        assert one_answer.prompt_hash == other.prompt_hash
        assert one({"messages": [{**ASKED, "content": "Hi"}, ANSWERED]}).prompt_hash != other.prompt_hash


KEYS = [
    *("messages", "role", "content", "tool_calls", "function", "request", "response", "choices", "message", "created"),
    *("attributes", "resourceSpans", "scopeSpans", "spans", "key", "value", "arrayValue", "kvlistValue", "values"),
    *("gen_ai.input.messages", "gen_ai.output.messages", "parts", "type", "events", "start_time", "startTimeUnixNano"),
]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(KEYS) | st.text(), inner),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(KEYS), json_values), st.sampled_from(TraceFormat))
def test_whatever_comes_is_read_skipped_or_refused(value: dict[str, Any], format_: TraceFormat) -> None:
    try:
        found = read(value, format_)
    except ValueError:
        return
    assert all(isinstance(each, Trace | Unusable) for each in found)


def _any(value: Any) -> dict[str, Any]:
    """JSON as OTLP's AnyValue."""
    if isinstance(value, dict):
        return {"kvlistValue": {"values": [{"key": key, "value": _any(each)} for key, each in value.items()]}}
    if isinstance(value, list):
        return {"arrayValue": {"values": [_any(each) for each in value]}}
    return {"stringValue": value}


@pytest.mark.parametrize(
    "hostile",
    [
        {"attributes": {"gen_ai.input.messages": "[" * 100_000}},
        {"attributes": {"gen_ai.input.messages": json.dumps([said("user", text("a\x00b"))])}},
        {"attributes": {"gen_ai.input.messages": '[{"role": "user", "parts": [{"content": NaN}]}]'}},
        {"attributes": [{"key": "gen_ai.input.messages", "value": {"arrayValue": None}}]},
        {"attributes": [{"key": "gen_ai.input.messages", "value": {"kvlistValue": 5}}]},
        {"attributes": {"gen_ai.operation.name": "chat"}, "events": 5},
    ],
)
def test_what_no_database_could_hold_is_no_message(hostile: dict[str, Any]) -> None:
    assert not any(isinstance(each, Trace) for each in read(hostile, TraceFormat.OTEL))


@pytest.mark.parametrize(
    "time",
    [
        {"startTimeUnixNano": "9" * 400},
        {"startTimeUnixNano": "²"},
        {"start_time": "0001-01-01T00:00:00+14:00"},
    ],
)
def test_a_time_that_is_none_is_left_out(time: dict[str, Any]) -> None:
    span = {"attributes": {"gen_ai.input.messages": INPUT, "gen_ai.output.messages": OUTPUT}, **time}
    assert one(span, TraceFormat.OTEL).at is None
