"""Judges that rate one response without reading a rubric's words: a program, and a trained reward model."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest

from app.rlaif.comparison import InvalidReason, Order
from app.rlaif.judges import ChecksJudge, RewardModelJudge
from app.rlaif.pointwise import PointQuestion
from app.rlaif.rubric import Rubric
from tests.judges.questions import POLITE, RUBRIC, RUDE, question, said
from tests.training.tiny import Recorder, score
from workers.judges.build import build_judge
from workers.judges.checks import ProgramJudge
from workers.judges.protocol import Judge, JudgedScore, JudgeMisconfigured
from workers.training.contracts import Conversation


def rating(text: str, *, order: Order = Order.AB, rubric: Rubric = RUBRIC, name: str = "completion_1") -> PointQuestion:
    return PointQuestion(question(rubric=rubric).case, said(text), name, order)


def rated(judge: Judge, *asked: PointQuestion) -> list[JudgedScore]:
    async def collect() -> list[JudgedScore]:
        return [given async for judged in judge.judge(asked) for given in judged.scores()]

    return asyncio.run(collect())


class TestProgram:
    def test_the_share_of_checks_that_hold_is_points_from_1_to_10(self) -> None:
        polite, rude = rated(ProgramJudge(ChecksJudge()), rating(POLITE), rating(RUDE))
        assert [polite.points, rude.points] == [10.0, 5.5]

    def test_both_presentations_are_the_same(self) -> None:
        given = rated(ProgramJudge(ChecksJudge()), *(rating(RUDE, order=order) for order in Order))
        assert len({each.points for each in given}) == 1
        assert [each.order for each in given] == list(Order)

    def test_without_a_check_it_names_the_completion(self) -> None:
        rubric = Rubric.model_validate({"criteria": [{"name": "kind", "description": "Is kind."}]})
        with pytest.raises(JudgeMisconfigured, match="completion_7"):
            rated(ProgramJudge(ChecksJudge()), rating(RUDE, rubric=rubric, name="completion_7"))


class TestRewardModel:
    SPEC = RewardModelJudge(family="tiny", checkpoint="checkpoint_1", batch_size=2)

    def judge(self, directory: Path) -> Judge:
        return build_judge(self.SPEC, may_spend=lambda: False, model_dir=directory)

    def test_points_follow_from_the_reward_that_training_computes(self, reward_model_dir: Path) -> None:
        prompt = [message.as_dict() for message in rating(POLITE).case.prompt]
        (reward,) = score(reward_model_dir, [Conversation(prompt, POLITE)], batch_size=1, progress=Recorder())
        assert reward is not None
        (given,) = rated(self.judge(reward_model_dir), rating(POLITE))
        assert given.points == pytest.approx(1 + 9 / (1 + math.exp(-reward)), abs=1e-4)

    def test_a_response_beyond_its_window_has_no_points(self, reward_model_dir: Path) -> None:
        asked = (rating(POLITE), rating("moon " * 9000, name="completion_2"))
        given = {each.completion_id: each for each in rated(self.judge(reward_model_dir), *asked)}
        assert given["completion_1"].points is not None
        assert (given["completion_2"].points, given["completion_2"].invalid_reason) == (None, InvalidReason.TRUNCATED)
