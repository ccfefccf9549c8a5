"""The run's judge as a reward: each answer that a policy in training gives is rated by itself (d-RLAIF, 2309.00267).

An answer that the judge does not rate in both presentations has no reward. Nothing is stored but what the ratings cost
and the replies that were paid for: an interrupted step draws the same answers again and finds them there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from app.db.models import Split
from app.repositories.prompts import PromptRow
from app.repositories.reply_cache import remember
from app.repositories.run_inputs import JudgeRow
from app.repositories.verdicts import add_spending, judge_usd_spent
from app.rlaif.checks import NothingToCheck, score_completion, user_text
from app.rlaif.comparison import Order
from app.rlaif.judges import ChecksJudge, JudgeSpec
from app.rlaif.messages import Message, Role
from app.rlaif.modes import Mode, modes_of
from app.rlaif.points import POINTS
from app.rlaif.pointwise import PointQuestion
from app.rlaif.questions import AnswerStyle
from app.rlaif.rendering import Response
from app.rlaif.rubric import Rubric
from app.services.delimiters import delimiter_key
from workers.judges.protocol import JudgedScore
from workers.stages.asking import put_all, unstored_at_most
from workers.stages.contract import StageContext, StageRefused
from workers.stages.docket import case_of
from workers.stages.inputs import StageInputs, all_prompts, criteria_for
from workers.stages.ledger import Ledger, Stored, spending

if TYPE_CHECKING:
    from workers.training.rewards import Reward
    from workers.training.rollouts import Rollout, RolloutGroup

_SPEC: TypeAdapter[JudgeSpec] = TypeAdapter(JudgeSpec)


def judge_reward(context: StageContext, inputs: StageInputs) -> Reward:
    """Rewards from -1 to 1. Raises StageRefused for a judge that rates nothing by itself."""
    judge, rubric = inputs.training_judge(), inputs.rubric()
    prompts = chain.from_iterable(all_prompts(context, inputs.run.prompt_set_id, split=Split.TRAIN))
    return rating(context, judge, rubric, prompts, field="policy.reward.judge", may_lack=False)


def rating(
    context: StageContext,
    judge: JudgeRow,
    rubric: Rubric,
    prompts: Iterable[PromptRow],
    *,
    field: str,
    may_lack: bool,
) -> Reward:
    """What a judge thinks of answers to `prompts`, from -1 to 1.

    Raises StageRefused for a judge that rates nothing by itself; `field` is the setting that asks for it. Where an
    answer `may_lack` something to check it by it has no rating; else that is refused, too.
    """
    from workers.training.rewards import TextReward  # torch

    named = {prompt.external_id: prompt for prompt in prompts}
    spec = _SPEC.validate_python(judge.spec)
    if isinstance(spec, ChecksJudge):
        return TextReward(_checked(spec, rubric, named, may_lack=may_lack))
    if Mode.POINTWISE not in modes_of(spec.kind):
        raise StageRefused(
            "judge_cannot_rate",
            f"judge {judge.name!r} of kind {spec.kind!r} rates no single answer: set {field} to 0, or name a judge of "
            "kind checks, openai, anthropic or local",
        )
    return JudgeReward(context, judge, rubric, named)


def _checked(
    spec: ChecksJudge, rubric: Rubric, prompts: Mapping[str, PromptRow], *, may_lack: bool
) -> Callable[[Rollout], float | None]:
    def score(rollout: Rollout) -> float | None:
        prompt = prompts[rollout.prompt.id]
        asked = user_text(tuple(Message.model_validate(message) for message in prompt.messages))
        try:
            criteria = spec.reads(criteria_for(rubric, prompt))
            found = score_completion(criteria, rollout.text, prompt=asked, reference=prompt.reference)
        except NothingToCheck as error:
            if may_lack:
                return None
            raise StageRefused("judge_misconfigured", f"prompt {prompt.external_id!r}: {error}") from error
        return 2 * found.total - 1

    return score


@dataclass(frozen=True)
class JudgeReward:
    """Asks a model about every answer of a step, in both presentations, many at once."""

    context: StageContext
    judge: JudgeRow
    rubric: Rubric
    prompts: Mapping[str, PromptRow]

    def __call__(self, groups: Sequence[RolloutGroup]) -> list[float | None]:
        """Raises GiveBack, BudgetReached, StageRefused."""
        with self.context.read() as session:
            spent = judge_usd_spent(session, self.context.work.run_id)
        at_most = unstored_at_most(self.judge)
        ratings = Ratings(self.context, self.judge.id, spent=spent, unstored_at_most=at_most)
        put_all(self.context, self.judge, self._questions(groups), ratings)
        return [
            ratings.reward(_name(place, group, index))
            for place, group in enumerate(groups)
            for index in range(len(group.rollouts))
        ]

    def _questions(self, groups: Sequence[RolloutGroup]) -> Iterator[PointQuestion]:
        with self.context.read() as session:
            key = delimiter_key(session, self.context.settings)
        style = AnswerStyle(self.judge.spec.get("answer_format", AnswerStyle.LABEL))
        for place, group in enumerate(groups):
            case = case_of(self.prompts[group.rollouts[0].prompt.id], self.rubric, key=key)
            for index, rollout in enumerate(group.rollouts):
                response = Response((Message(role=Role.ASSISTANT, content=rollout.text),))
                for order in Order:
                    yield PointQuestion(case, response, _name(place, group, index), order, style=style)


def _name(place: int, group: RolloutGroup, index: int) -> str:
    return f"{place}:{group.rollouts[index].prompt.id}:{index}"


class Ratings(Ledger):
    """Keeps the points of a step in memory; of a write whose commit was not heard of, the cost is counted twice."""

    def __init__(self, context: StageContext, judge_id: str, *, spent: Decimal, unstored_at_most: int) -> None:
        super().__init__(context, judge_id, spent=spent, on_stored=lambda: None, unstored_at_most=unstored_at_most)
        self._points: dict[str, dict[Order, float | None]] = {}

    def reward(self, name: str) -> float | None:
        """The mean of both presentations, 1 to 10 points as -1 to 1; None where one of them is missing."""
        given = [self._points.get(name, {}).get(order) for order in Order]
        known = [points for points in given if points is not None]
        if len(known) < len(Order):
            return None
        low, high = min(POINTS), max(POINTS)
        return 2 * (sum(known) / len(known) - low) / (high - low) - 1

    def _write(self, batch: Sequence[Stored]) -> Decimal:
        for answer in batch:
            if isinstance(answer, JudgedScore):
                self._points.setdefault(answer.completion_id, {})[answer.order] = answer.points
        work = self._context.work
        with self._context.transaction() as session:
            remember(session, work.project_id, [answer.kept for answer in batch if answer.kept is not None])
            add_spending(session, work.stage_id, spending(batch))
            return judge_usd_spent(session, work.run_id)
