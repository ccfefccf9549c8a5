from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest

from app.rlaif.comparison import Answer, InvalidReason
from app.rlaif.judges import LocalJudge
from tests.judges.questions import question
from tests.judges.running import answers
from workers.judges.build import build_judge
from workers.judges.local import ModelJudge
from workers.judges.protocol import JudgeMisconfigured
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
