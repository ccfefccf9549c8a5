"""What is sent to a provider, structured answers, and the one repair of a reply that cannot be read."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from app.rlaif.comparison import Answer, InvalidReason, Order
from app.rlaif.judges import AnthropicJudge, OpenAIJudge
from app.rlaif.listwise import ListQuestion, Ranked
from app.rlaif.pointwise import PointQuestion
from app.rlaif.questions import AnswerStyle
from app.rlaif.replies import Finish
from tests.judges.questions import POLITE, RUDE, question, said
from tests.judges.running import Running, answers, collect, running
from workers.judges.anthropic import Messages
from workers.judges.chat_completions import ChatCompletions
from workers.judges.protocol import JudgeBudgetReached, JudgedAnswer

COMMON: dict[str, Any] = {"family": "f", "base_url": "https://api.example.org/v1", "model": "m"}
STRUCTURED = replace(question(), style=AnswerStyle.JSON_SCHEMA)


def asked_of(*faults: str, text: str = POLITE, **changes: Any) -> tuple[JudgedAnswer, Running]:
    """The verdict on one question whose calls suffer these faults in turn."""

    async def scenario() -> tuple[JudgedAnswer, Running]:
        async with running() as endpoint:
            endpoint.judge.script.faults.extend(faults)
            (given,) = await answers(endpoint.client(**changes), [question(text)])
            return given, endpoint

    return asyncio.run(scenario())


@pytest.mark.usefixtures("provider")
class TestRepair:
    def test_unreadable_reply_is_asked_about_once_and_all_of_it_counts(self) -> None:
        plain, _ = asked_of()
        given, endpoint = asked_of("rambling")
        assert (given.answer, given.probability) == (Answer.A, plain.probability)
        assert given.attempts == len(endpoint.judge.calls) == 2
        assert given.prompt_tokens == 2 * plain.prompt_tokens
        assert given.cost_usd == 2 * plain.cost_usd
        assert given.prompt_hash == plain.prompt_hash
        assert "Both have merits" in (given.raw_text or "")
        assert (given.raw_text or "").endswith("[asked again]\n\nA")

    def test_second_call_shows_the_reply_and_says_what_it_should_be(self) -> None:
        _, endpoint = asked_of("rambling")
        first, second = (call["messages"] for call in endpoint.judge.bodies)
        assert second[: len(first)] == first
        reply, sentence = second[len(first) :]
        assert (reply["role"], sentence["role"]) == ("assistant", "user")
        assert reply["content"].startswith("Both have merits")
        assert "Answer with one letter" in sentence["content"]

    def test_is_tried_once_and_not_again(self) -> None:
        given, endpoint = asked_of("rambling", "rambling", "rambling")
        assert (given.answer, given.invalid_reason) == (Answer.INVALID, InvalidReason.PARSE)
        assert given.attempts == len(endpoint.judge.calls) == 2

    @pytest.mark.parametrize("fault", ["refusal", "length"])
    def test_never_after_a_refusal_or_a_cut_reply(self, fault: str) -> None:
        given, endpoint = asked_of(fault)
        assert given.answer is Answer.INVALID
        assert len(endpoint.judge.calls) == 1

    def test_not_where_the_judge_wants_none(self) -> None:
        given, endpoint = asked_of("rambling", repairs=0)
        assert (given.invalid_reason, len(endpoint.judge.calls)) == (InvalidReason.PARSE, 1)

    @pytest.mark.parametrize("fault", ["500", "garbage", "401"])
    def test_one_that_fails_leaves_what_was_paid_for(self, fault: str) -> None:
        given, _ = asked_of("rambling", fault)
        assert given.invalid_reason is InvalidReason.PARSE
        assert given.cost_usd > 0
        assert "Both have merits" in (given.raw_text or "")

    def test_budget_that_ends_before_it_leaves_what_was_paid_for(self) -> None:
        async def scenario() -> None:
            allowed = iter([True, False, False])
            async with running() as endpoint:
                endpoint.judge.script.faults.append("rambling")
                client = endpoint.client(may_spend=lambda: next(allowed), max_concurrency=1)
                given: list[JudgedAnswer] = []
                with pytest.raises(JudgeBudgetReached):
                    await collect(client, [question(), question(RUDE, POLITE)], given)
            assert [(each.invalid_reason, each.attempts) for each in given] == [(InvalidReason.PARSE, 1)]

        asyncio.run(scenario())


@pytest.mark.usefixtures("provider")
class TestStructured:
    @pytest.mark.parametrize("order", list(Order))
    def test_says_the_same_as_a_bare_label(self, order: Order) -> None:
        async def scenario() -> None:
            plain = question(order=order)
            structured = replace(plain, style=AnswerStyle.JSON_SCHEMA)
            async with running() as endpoint:
                (one,) = await answers(endpoint.client(), [plain])
                (other,) = await answers(endpoint.client(answer_format="json_schema"), [structured])
            assert one.answer is other.answer
            assert one.probability == pytest.approx(other.probability)
            assert json.loads(other.raw_text or "") == {"answer": one.raw_text}

        asyncio.run(scenario())


class TestChatCompletions:
    def test_label_by_its_log_probabilities(self) -> None:
        payload = ChatCompletions(OpenAIJudge(**COMMON, top_logprobs=20)).payload(
            question().messages(), question().format
        )
        assert (payload["logprobs"], payload["top_logprobs"], payload["max_tokens"]) == (True, 20, 8)
        assert "response_format" not in payload

    def test_schema_is_strict_and_has_room(self) -> None:
        spec = OpenAIJudge(**COMMON, answer_format=AnswerStyle.JSON_SCHEMA, token_limit_field="max_completion_tokens")
        payload = ChatCompletions(spec).payload(STRUCTURED.messages(), STRUCTURED.format)
        schema = payload["response_format"]["json_schema"]
        assert (payload["response_format"]["type"], schema["strict"]) == ("json_schema", True)
        assert sorted(schema["schema"]["properties"]["answer"]["enum"]) == ["A", "B", "C"]
        assert schema["schema"]["additionalProperties"] is False
        assert payload["max_completion_tokens"] == 16

    def test_no_temperature_where_the_model_allows_none(self) -> None:
        payload = ChatCompletions(OpenAIJudge(**COMMON, temperature=None)).payload(
            question().messages(), question().format
        )
        assert "temperature" not in payload

    def test_ranking_asks_for_no_log_probabilities(self) -> None:
        ranked = ListQuestion(question().case, (said("a"), said("b")), (Ranked("c", 0, 1),), reverse=False)
        payload = ChatCompletions(OpenAIJudge(**COMMON, top_logprobs=5)).payload(ranked.messages(), ranked.format)
        assert "logprobs" not in payload
        assert payload["max_tokens"] == 64


class TestMessages:
    def test_system_stands_beside_the_messages(self) -> None:
        payload = Messages(AnthropicJudge(**COMMON)).payload(question().messages(), question().format)
        system, user = question().messages()
        assert payload["system"] == system["content"]
        assert payload["messages"] == [user]
        assert (payload["max_tokens"], payload["temperature"]) == (8, 0.0)
        assert "tools" not in payload

    def test_key_and_version_are_headers(self) -> None:
        headers = Messages(AnthropicJudge(**COMMON)).headers("key")
        assert headers == {"x-api-key": "key", "anthropic-version": "2023-06-01"}
        assert "x-api-key" not in Messages(AnthropicJudge(**COMMON)).headers(None)

    def test_schema_is_a_tool_that_must_be_called(self) -> None:
        spec = AnthropicJudge(**COMMON, answer_format=AnswerStyle.JSON_SCHEMA)
        asked = PointQuestion(question().case, said("a"), "c", Order.AB, style=AnswerStyle.JSON_SCHEMA)
        payload = Messages(spec).payload(asked.messages(), asked.format)
        (tool,) = payload["tools"]
        assert payload["tool_choice"] == {"type": "tool", "name": tool["name"]}
        assert tool["input_schema"]["properties"]["score"]["enum"] == list(range(1, 11))

    @pytest.mark.parametrize(
        ("stop", "finish"),
        [
            ("end_turn", Finish.STOP),
            ("tool_use", Finish.STOP),
            ("max_tokens", Finish.LENGTH),
            ("model_context_window_exceeded", Finish.LENGTH),
            ("refusal", Finish.REFUSED),
            ("pause_turn", Finish.STOP),
        ],
    )
    def test_why_a_reply_ended(self, stop: str, finish: Finish) -> None:
        assert self._read(content=[{"type": "text", "text": "A"}], stop_reason=stop).finish is finish

    def test_tool_input_is_the_reply(self) -> None:
        content = [
            {"type": "thinking", "thinking": "Hm.", "signature": "x"},
            {"type": "text", "text": "I call the tool."},
            {"type": "tool_use", "id": "t", "name": "answer", "input": {"answer": "B"}},
        ]
        assert json.loads(self._read(content=content).text) == {"answer": "B"}

    def test_cached_input_is_counted_with_the_prompt(self) -> None:
        usage = {
            "input_tokens": 10,
            "output_tokens": 2,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 5,
        }
        counted = Messages(AnthropicJudge(**COMMON)).read(_message(usage=usage)).usage
        assert counted is not None
        assert (counted.prompt_tokens, counted.completion_tokens, counted.cached_tokens) == (115, 2, 100)

    @staticmethod
    def _read(**changed: Any) -> Any:
        return Messages(AnthropicJudge(**COMMON)).read(_message(**changed)).reply


def _message(**changed: Any) -> bytes:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "text", "text": "A"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    return json.dumps(message | changed).encode()
