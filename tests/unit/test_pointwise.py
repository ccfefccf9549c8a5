from __future__ import annotations

import math
import re
from typing import Any

import pytest

from app.rlaif.comparison import InvalidReason, Order
from app.rlaif.pointwise import PointQuestion
from app.rlaif.questions import AnswerStyle, PointsAnswer, Unit
from app.rlaif.rendering import Case
from app.rlaif.replies import Finish, Reply, ReplyToken
from app.rlaif.rubric import Rubric
from tests.unit.test_pairwise import said, turns

RUBRIC = Rubric.model_validate(
    {
        "criteria": [
            {
                "name": "polite",
                "description": "Is polite.",
                "anchors": [{"score": 1, "description": "Rude."}, {"score": 10, "description": "Thankful."}],
            },
            {"name": "true", "description": "Says what is so."},
            {"name": "brief", "description": "Is brief."},
        ]
    }
)


def asked(order: Order = Order.AB, **changes: Any) -> PointQuestion:
    case = Case(turns({"role": "user", "content": "Why are there tides?"}), RUBRIC, key=b"key")
    return PointQuestion(case, said("The moon."), "cpl_1", order, **changes)


def shown(question: PointQuestion, pattern: str) -> list[str]:
    return re.findall(pattern, question.messages()[1]["content"], re.MULTILINE)


class TestPointQuestion:
    def test_other_presentation_turns_criteria_and_scale_around(self) -> None:
        rising, falling = asked(Order.AB), asked(Order.BA)
        names = r"^\d+\. (\w+) \(weight"
        assert shown(rising, names) == shown(falling, names)[::-1]
        assert shown(rising, r"(\d+) of 10") == ["1", "10"]
        assert shown(falling, r"(\d+) of 10") == ["10", "1"]
        assert "from 1 (worst) to 10" in rising.messages()[0]["content"]
        assert "from 10 (best) down to 1" in falling.messages()[0]["content"]

    def test_number_is_the_rating(self) -> None:
        assert asked().read(Reply("7")) == (PointsAnswer(Unit("cpl_1", Order.AB, 0), 7.0),)

    def test_log_probabilities_make_it_soft(self) -> None:
        token = ReplyToken("7", {"7": math.log(0.5), "8": math.log(0.5)})
        (answer,) = asked().read(Reply("7", tokens=(token,)))
        assert answer.points == pytest.approx(7.5)

    def test_json_reply_where_that_is_asked_for(self) -> None:
        question = asked(style=AnswerStyle.JSON_SCHEMA)
        assert "JSON object" in question.messages()[0]["content"]
        tokens = tuple(
            ReplyToken(text, alternatives)
            for text, alternatives in (
                ('{"', {}),
                ("score", {}),
                ('":', {}),
                (" 7", {" 7": math.log(0.5), " 9": math.log(0.5)}),
                ("}", {}),
            )
        )
        (answer,) = question.read(Reply('{"score": 7}', tokens=tokens))
        assert answer.points == pytest.approx(8.0)

    @pytest.mark.parametrize("text", ['{"score": 11}', '{"score": "7"}', '{"score": true}', '{"score": 7.0}', "7", "{"])
    def test_other_json_is_no_rating(self, text: str) -> None:
        (answer,) = asked(style=AnswerStyle.JSON_SCHEMA).read(Reply(text))
        assert (answer.points, answer.reason) == (None, InvalidReason.PARSE)

    @pytest.mark.parametrize(
        ("reply", "reason"),
        [
            (Reply("good"), InvalidReason.PARSE),
            (Reply("I cannot rate this."), InvalidReason.REFUSAL),
            (Reply("7", Finish.REFUSED), InvalidReason.REFUSAL),
            (Reply("The response is", Finish.LENGTH), InvalidReason.TRUNCATED),
        ],
    )
    def test_no_rating_has_its_reason_and_is_never_a_number(self, reply: Reply, reason: InvalidReason) -> None:
        (answer,) = asked().read(reply)
        assert (answer.points, answer.reason) == (None, reason)
