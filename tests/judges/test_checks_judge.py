from __future__ import annotations

import asyncio
import math

import pytest

from app.rlaif.comparison import Answer, Order
from app.rlaif.judges import ChecksJudge
from app.rlaif.questions import Question
from app.rlaif.rubric import Rubric
from tests.judges.questions import POLITE, RUDE, question
from tests.judges.running import answers
from workers.judges.checks import ProgramJudge
from workers.judges.protocol import JudgedAnswer, JudgeMisconfigured


def judged(asked: Question, **changes: object) -> JudgedAnswer:
    (given,) = asyncio.run(answers(ProgramJudge(ChecksJudge.model_validate(changes)), [asked]))
    return given


class TestProgramJudge:
    @pytest.mark.parametrize("order", list(Order))
    def test_prefers_the_better_score_in_either_order(self, order: Order) -> None:
        given = judged(question(POLITE, RUDE, order=order))
        assert given.answer is Answer.A
        assert given.scores == {"polite": (1.0, 0.0), "brief": (1.0, 1.0)}
        assert given.probability == pytest.approx(1 / (1 + math.exp(-6.0 * 0.5)))

    def test_equal_scores_tie_at_one_half(self) -> None:
        given = judged(question(RUDE, RUDE + " Indeed."))
        assert (given.answer, given.probability) == (Answer.TIE, 0.5)

    def test_sharpness_sets_how_sure_it_is(self) -> None:
        assert judged(question(), sharpness=1.0).probability == pytest.approx(1 / (1 + math.exp(-0.5)))
        assert judged(question(), sharpness=1000.0).probability == 1.0

    def test_own_criteria_replace_the_rubrics(self) -> None:
        own = {"name": "rude", "description": "Sends away.", "check": {"kind": "words", "any_of": ["look it up"]}}
        given = judged(question(POLITE, RUDE), criteria=[own])
        assert given.answer is Answer.B
        assert given.scores == {"rude": (0.0, 1.0)}

    def test_rubric_without_a_check_is_a_misconfiguration_that_names_the_comparison(self) -> None:
        rubric = Rubric.model_validate({"criteria": [{"name": "kind", "description": "Is kind."}]})
        with pytest.raises(JudgeMisconfigured, match="cmp_7"):
            judged(question(rubric=rubric, comparison_id="cmp_7"))
