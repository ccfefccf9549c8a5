from __future__ import annotations

import asyncio
import math
from dataclasses import replace
from pathlib import Path

import pytest

from app.rlaif.comparison import Answer, InvalidReason, Order
from app.rlaif.judges import LocalJudge
from app.rlaif.listwise import ListQuestion, Ranked
from app.rlaif.pointwise import PointQuestion
from app.rlaif.questions import AnswerStyle
from app.rlaif.rendering import Response
from tests.judges.questions import POLITE, question, said
from tests.judges.running import answers
from workers.judges.build import build_judge
from workers.judges.local import ModelJudge
from workers.judges.protocol import JudgedScore, JudgeMisconfigured
from workers.sampling.language_model import LanguageModel, render_prompt
from workers.sampling.scoring import next_token_logprobs


def spec(**changes: object) -> LocalJudge:
    return LocalJudge.model_validate({"family": "tiny", "model": "model_tiny", "batch_size": 4} | changes)


class TestModelJudge:
    def test_probability_is_the_softmax_of_the_labels(self, judge_model_dir: Path) -> None:
        asked = question()
        model = LanguageModel.load(judge_model_dir)
        prompt = render_prompt(model.tokenizer, asked.messages())
        logprobs = next_token_logprobs(model, [prompt], ("A", "B", "C"))[0]
        mass = {label: math.exp(value) for label, value in logprobs.items()}
        (given,) = asyncio.run(answers(ModelJudge(spec(), model_dir=judge_model_dir), [asked]))
        if given.answer is not Answer.TIE:
            assert given.probability == pytest.approx((mass["A"] + mass["C"] / 2) / sum(mass.values()))
        assert given.raw_text == max(mass, key=lambda label: mass[label])
        assert given.completion_tokens == 1
        assert given.cost_usd == 0

    def test_too_long_a_question_is_truncated_and_its_neighbours_are_answered(self, judge_model_dir: Path) -> None:
        asked = [question(comparison_id="cmp_1"), question("moon " * 5000, comparison_id="cmp_2")]
        judge = ModelJudge(spec(max_length=4000), model_dir=judge_model_dir)
        given = {each.comparison_id: each for each in asyncio.run(answers(judge, asked))}
        assert given["cmp_1"].probability is not None
        assert given["cmp_2"].invalid_reason is InvalidReason.TRUNCATED
        assert "4000" in (given["cmp_2"].raw_text or "")

    def test_without_its_files_it_is_misconfigured(self) -> None:
        with pytest.raises(JudgeMisconfigured, match="model_tiny"):
            build_judge(spec(), may_spend=lambda: True)

    def test_a_rating_is_the_mean_of_numbers_where_ten_is_two_tokens(self, judge_model_dir: Path) -> None:
        """Of the tiny tokenizer 10 is a 1 and a 0: P(10) = P(1) P(0 after 1)."""
        asked = PointQuestion(question().case, said(POLITE), "cpl_1", Order.AB)
        model = LanguageModel.load(judge_model_dir)
        prompt = render_prompt(model.tokenizer, asked.messages())
        (first,) = next_token_logprobs(model, [prompt], [str(number) for number in range(1, 10)])
        (after,) = next_token_logprobs(model, [f"{prompt}1"], ["0"])
        mass = {int(number): math.exp(value) for number, value in first.items()}
        mass[10] = mass[1] * math.exp(after["0"])
        mass[1] -= mass[10]
        expected = sum(number * share for number, share in mass.items()) / sum(mass.values())

        async def scenario() -> list[JudgedScore]:
            judge = ModelJudge(spec(), model_dir=judge_model_dir)
            return [score async for judged in judge.judge([asked]) for score in judged.scores()]

        (score,) = asyncio.run(scenario())
        assert score.points == pytest.approx(expected, abs=1e-6)

    def test_writes_no_ranking(self, judge_model_dir: Path) -> None:
        ranked = ListQuestion(question().case, (said("a"), said("b")), (Ranked("c", 0, 1),), reverse=False)
        with pytest.raises(JudgeMisconfigured, match="writes nothing"):
            asyncio.run(answers(ModelJudge(spec(), model_dir=judge_model_dir), [ranked]))

    def test_reads_a_label_of_trajectories_too(self, judge_model_dir: Path) -> None:
        asked = question()
        turns = (*said("Wait.").turns, *said("Done.").turns)
        whole = replace(asked, first=Response(turns), style=AnswerStyle.OPTION)
        (given,) = asyncio.run(answers(ModelJudge(spec(), model_dir=judge_model_dir), [whole]))
        assert given.probability is not None
        assert given.notes is None
