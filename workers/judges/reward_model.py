"""The judge that is a trained reward model: P(the first is better) = sigmoid(r(first) - r(second)).

One response alone it gives 1 + 9 sigmoid(r) points: a classifier, whose scale is as well calibrated as its rewards are.
Indifferent to presentation order by construction. Imported only in a process that may load torch.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path

import torch

from app.rlaif.beliefs import lean
from app.rlaif.comparison import InvalidReason
from app.rlaif.judges import RewardModelJudge
from app.rlaif.pairwise import PairQuestion
from app.rlaif.points import POINTS, sigmoid
from app.rlaif.pointwise import PointQuestion
from app.rlaif.questions import PointsAnswer, Question
from app.rlaif.rendering import Case, Response
from workers.judges.protocol import Judged, JudgeMisconfigured
from workers.sampling.language_model import window_of
from workers.training.checkpoint import load_scalar_model
from workers.training.contracts import Conversation, TemplateRefusesPrompt, TemplateRewritesPrompt
from workers.training.optimiser import autocast
from workers.training.scoring import encode_conversation, rewards
from workers.training.shared_prompts import PromptGroup

REWARD = "reward"
"""The name under which a verdict's `scores` hold the two rewards."""

WINDOW = 8
"""Responses of so many batches are scored together: each once, sorted by length, which saves padding."""

_Asked = PairQuestion | PointQuestion
_Key = bytes
"""Of a prompt and a response to it, by their content."""


class TrainedJudge:
    """A response that is longer with its prompt than the model's window leaves its verdicts INVALID (truncated)."""

    def __init__(self, spec: RewardModelJudge, *, model_dir: Path) -> None:
        self._spec = spec
        self._model = load_scalar_model(model_dir)
        self._window = window_of(self._model.model)

    async def judge(self, questions: Iterable[Question]) -> AsyncGenerator[Judged, None]:
        source = iter(questions)
        while window := list(islice(source, self._spec.batch_size * WINDOW)):
            started = time.monotonic()
            asked = [_asked(question) for question in window]
            scores = self._scores(asked)
            latency_s = (time.monotonic() - started) / len(window)
            for question in asked:
                yield self._answer(question, scores, latency_s)
            await asyncio.sleep(0)  # a reader that shares the loop stores them before the next pass

    async def aclose(self) -> None:
        """The process that ran the judge ends with its shard and gives the memory back."""

    def _scores(self, questions: Sequence[_Asked]) -> dict[_Key, float]:
        """The rewards of the responses that fit into the model's window."""
        distinct = {
            question.case.draw((response,)): (question.case, response)
            for question in questions
            for response in _responses(question)
        }
        encoded = {key: self._encoded(case, response) for key, (case, response) in distinct.items()}
        fitting = [(key, group) for key, group in encoded.items() if self._fits(group)]
        fitting.sort(key=lambda item: item[1].longest)
        scores: dict[_Key, float] = {}
        for start in range(0, len(fitting), self._spec.batch_size):
            batch = fitting[start : start + self._spec.batch_size]
            with torch.inference_mode(), autocast(self._model.model.device):
                values = rewards(self._model, [group for _, group in batch]).tolist()
            scores |= zip((key for key, _ in batch), values, strict=True)
        return scores

    def _encoded(self, case: Case, response: Response) -> PromptGroup:
        only = response.turns[0]
        if response.is_trajectory or only.tool_calls or only.content is None:
            raise JudgeMisconfigured("a reward model reads texts alone: name another judge for trajectories")
        messages = [message.as_dict() for message in case.prompt]
        tools = None if case.tools is None else [dict(tool) for tool in case.tools]
        try:
            return encode_conversation(self._model, Conversation(messages, only.content, tools))
        except (TemplateRewritesPrompt, TemplateRefusesPrompt) as error:
            raise JudgeMisconfigured(str(error)) from error

    def _fits(self, group: PromptGroup) -> bool:
        return self._window is None or group.longest <= self._window

    def _answer(self, question: _Asked, scores: Mapping[_Key, float], latency_s: float) -> Judged:
        found = [scores.get(question.case.draw((each,))) for each in _responses(question)]
        known = [score for score in found if score is not None]
        if len(known) < len(found):
            detail = f"a response is longer with its prompt than the reward model's {self._window} tokens"
            return Judged(question.unanswered(InvalidReason.TRUNCATED), raw_text=detail, latency_s=latency_s)
        raw_text = " ".join(f"{score:.6g}" for score in known)
        if isinstance(question, PointQuestion):
            points = min(POINTS) + sigmoid(known[0]) * (max(POINTS) - min(POINTS))
            return Judged((PointsAnswer(question.unit, points, None),), raw_text=raw_text, latency_s=latency_s)
        first, second = known
        probability = sigmoid(first - second)
        answer = question.scored(lean(probability), probability, scores={REWARD: (first, second)})
        return Judged((answer,), raw_text=raw_text, latency_s=latency_s)


def _asked(question: Question) -> _Asked:
    if isinstance(question, PairQuestion | PointQuestion):
        return question
    raise JudgeMisconfigured("a reward model compares two responses or rates one, and answers no other question")


def _responses(question: _Asked) -> tuple[Response, ...]:
    return (question.response,) if isinstance(question, PointQuestion) else (question.first, question.second)
