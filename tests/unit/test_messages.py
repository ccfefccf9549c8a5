from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.rlaif.messages import Chat, Message, as_json, transcript
from app.rlaif.prompt import Candidate, Prompt

CALL = {"role": "assistant", "tool_calls": [{"id": "c1", "function": {"name": "book", "arguments": {"seat": 4}}}]}
RESULT = {"role": "tool", "tool_call_id": "c1", "name": "book", "content": "Booked."}
SAID = {"role": "assistant", "content": "Seat 4 is yours."}
QUESTION: dict[str, Any] = {"messages": [{"role": "user", "content": "A seat, please."}]}


def candidate(value: Any) -> Chat:
    found: Chat = TypeAdapter(Candidate).validate_python(value)
    return found


class TestCandidate:
    def test_of_several_turns_is_a_trajectory(self) -> None:
        turns = candidate([CALL, RESULT, SAID])
        assert isinstance(turns, tuple)
        assert [message.role for message in turns] == ["assistant", "tool", "assistant"]

    def test_one_spoken_turn_is_its_text(self) -> None:
        assert candidate([SAID]) == candidate("Seat 4 is yours.") == "Seat 4 is yours."

    def test_one_tool_call_is_a_trajectory(self) -> None:
        assert not isinstance(candidate([CALL]), str)

    def test_arguments_may_be_json_text_or_an_object_and_stay_as_they_are(self) -> None:
        as_text = {**CALL, "tool_calls": [{"function": {"name": "book", "arguments": '{"seat": 4}'}}]}
        shown = as_json(candidate([as_text, RESULT]))
        assert not isinstance(shown, str)
        assert shown[0]["tool_calls"][0]["function"]["arguments"] == '{"seat": 4}'

    @pytest.mark.parametrize(
        "value",
        [
            "",
            [],
            [{"role": "user", "content": "I answer."}],
            [SAID, {"role": "system", "content": "Be kind."}],
            [{"role": "assistant", "content": ""}],
            [{"role": "assistant"}],
            [{"role": "assistant", "content": "a", "mood": "good"}],
            [{"role": "assistant", "tool_calls": [{"function": {"name": "", "arguments": "{}"}}]}],
            7,
            None,
        ],
    )
    def test_what_is_no_response_is_refused(self, value: Any) -> None:
        with pytest.raises(ValidationError):
            candidate(value)

    def test_texts_and_trajectories_stand_side_by_side_and_come_back(self) -> None:
        prompt = Prompt.model_validate(QUESTION | {"candidates": ["No.", [CALL, RESULT, SAID]]})
        shown = [as_json(each) for each in prompt.candidates]
        assert Prompt.model_validate(QUESTION | {"candidates": shown}) == prompt


class TestTranscript:
    def test_another_argument_is_another_transcript(self) -> None:
        def of(seat: int) -> str:
            call = {"role": "assistant", "tool_calls": [{"function": {"name": "book", "arguments": {"seat": seat}}}]}
            return transcript([Message.model_validate(call), Message.model_validate(SAID)])

        assert of(4) != of(5)
        assert of(4) == of(4)
        assert of(4).count("\n") == 1
