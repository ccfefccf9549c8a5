"""A trained reward model as a judge: its rewards are those that training computes, and nothing is cut."""

from __future__ import annotations

import asyncio
import math
from pathlib import Path

import pytest

from app.rlaif.comparison import InvalidReason, Order
from app.rlaif.judges import RewardModelJudge
from app.rlaif.messages import Message, Role
from app.rlaif.rendering import Response
from tests.judges.questions import POLITE, RUDE, both_orders, question, said
from tests.judges.running import answers
from tests.training.tiny import Recorder, score
from workers.judges.build import build_judge
from workers.judges.protocol import JudgedAnswer, JudgeMisconfigured
from workers.judges.reward_model import REWARD
from workers.training.contracts import Conversation

SPEC = RewardModelJudge(family="tiny", checkpoint="checkpoint_1", batch_size=2)


def judged(directory: Path, *asked: object) -> list[JudgedAnswer]:
    judge = build_judge(SPEC, may_spend=lambda: False, model_dir=directory)
    return asyncio.run(answers(judge, asked))  # type: ignore[arg-type]


class TestTrainedJudge:
    def test_probability_follows_from_the_rewards_that_training_computes(self, reward_model_dir: Path) -> None:
        asked = question(POLITE, RUDE)
        prompt = [message.as_dict() for message in asked.case.prompt]
        first, second = score(
            reward_model_dir,
            [Conversation(prompt, POLITE), Conversation(prompt, RUDE)],
            batch_size=2,
            progress=Recorder(),
        )
        assert first is not None
        assert second is not None
        (given,) = judged(reward_model_dir, asked)
        assert given.probability == pytest.approx(1 / (1 + math.exp(second - first)), abs=1e-5)
        assert given.scores is not None
        assert given.scores[REWARD] == pytest.approx((first, second), abs=1e-4)

    def test_both_orders_say_the_same(self, reward_model_dir: Path) -> None:
        pairs = [(f"{POLITE} {number}", f"{RUDE} {number}") for number in range(30)]
        given = {(each.comparison_id, each.order): each for each in judged(reward_model_dir, *both_orders(pairs))}
        assert len(given) == 60
        for number in range(30):
            ab, ba = (given[(f"cmp_{number}", order)] for order in Order)
            assert ab.probability == pytest.approx(ba.probability, abs=1e-5)

    def test_too_long_a_response_is_truncated_and_its_neighbours_are_answered(self, reward_model_dir: Path) -> None:
        asked = [question(comparison_id="cmp_1"), question("moon " * 9000, comparison_id="cmp_2")]
        given = {each.comparison_id: each for each in judged(reward_model_dir, *asked)}
        assert given["cmp_1"].probability is not None
        assert given["cmp_2"].invalid_reason is InvalidReason.TRUNCATED
        assert "8192" in (given["cmp_2"].raw_text or "")

    def test_reads_texts_alone(self, reward_model_dir: Path) -> None:
        asked = question()
        turns = (*said("Wait.").turns, Message(role=Role.USER, content="Yes?"), *said("Done.").turns)
        whole = type(asked)(asked.case, Response(turns), asked.second, "cmp_1", Order.AB)
        with pytest.raises(JudgeMisconfigured, match="texts alone"):
            judged(reward_model_dir, whole)

    def test_without_its_files_it_is_misconfigured(self) -> None:
        with pytest.raises(JudgeMisconfigured, match="checkpoint_1"):
            build_judge(SPEC, may_spend=lambda: True)
