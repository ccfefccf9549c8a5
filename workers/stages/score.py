"""Scores given texts with a published reward model: each prompt's candidates become completions with their reward."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from app.db.models import Completion, CompletionSource, Split
from app.repositories.checkpoints import storage_key_of
from app.repositories.completions import CompletionRow, completions_of, set_rewards
from app.repositories.prompts import PromptRow
from app.repositories.units import add_missing
from app.rlaif.scoring import Reward, ScoreConfig
from workers.stages.contract import StageContext, StageOutcome, StageRefused
from workers.stages.inputs import StageInputs, shard_prompts, stop_if_asked
from workers.stages.sample import candidates
from workers.stages.training import ends_explained
from workers.stages.weights import model_directory
from workers.training.contracts import Conversation

if TYPE_CHECKING:
    from workers.training.scoring import Scorer


def run(context: StageContext) -> StageOutcome:
    """Raises GiveBack, StageRefused. Rewards that an earlier holder wrote are not computed again."""
    inputs = StageInputs.load(context)
    scorer, counts = _Lazy(context), _Counts()
    units = 0
    for prompts in shard_prompts(context, inputs.run.prompt_set_id):
        stop_if_asked(context)
        progress = _Within(context, done=units, size=len(prompts))
        counts += _score(context, partial(scorer, progress=progress), prompts, _imported(context, prompts))
        units += len(prompts)
        progress.report(1, 1, {})
    return StageOutcome(units, {"scored": counts.scored, "beyond_window": counts.beyond_window})


@dataclass(frozen=True)
class _Counts:
    scored: int = 0
    beyond_window: int = 0

    def __add__(self, other: _Counts) -> _Counts:
        return _Counts(self.scored + other.scored, self.beyond_window + other.beyond_window)


@dataclass(frozen=True)
class _Within:
    """The progress of one block of prompts as a part of the shard's."""

    context: StageContext
    done: int
    size: int

    def report(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        self.context.progress.report(
            self.done + self.size * step // max(total, 1), self.context.work.payload["limit"], metrics
        )

    def should_stop(self) -> bool:
        return self.context.progress.should_stop()


class _Lazy:
    """The reward model, verified and loaded once there is something to score."""

    def __init__(self, context: StageContext) -> None:
        self._context = context
        self._scorer: Scorer | None = None

    def __call__(self, conversations: Sequence[Conversation], *, progress: _Within) -> list[tuple[float, ...] | None]:
        if self._scorer is None:
            self._scorer = _load(self._context)
        with ends_explained():
            return self._scorer(conversations, progress)


def _load(context: StageContext) -> Scorer:
    from workers.training.scoring import Scorer  # torch

    config = _config(context)
    with context.read() as session:
        key = storage_key_of(session, context.work.project_id, config.checkpoint)
    return Scorer(model_directory(context, key), batch_size=config.batch_size)


def _config(context: StageContext) -> ScoreConfig:
    if (config := context.work.recipe.score) is None:
        raise StageRefused("no_checkpoint", "the recipe names no reward model: POST /v1/checkpoints/{id}/scores again")
    return config


def _imported(context: StageContext, prompts: Sequence[PromptRow]) -> list[CompletionRow]:
    """The prompts' candidates as completions, made where they are missing."""
    work = context.work
    with context.transaction() as session:
        add_missing(session, Completion, [row for prompt in prompts for row in candidates(context, prompt)])
    with context.read() as session:
        return completions_of(
            session,
            work.run_id,
            round_=work.round,
            split=Split(work.payload["split"]),
            sources=(CompletionSource.IMPORTED,),
            prompt_ids=[prompt.id for prompt in prompts],
        )


def _score(
    context: StageContext,
    scorer: Callable[[Sequence[Conversation]], list[tuple[float, ...] | None]],
    prompts: Sequence[PromptRow],
    stored: Sequence[CompletionRow],
) -> _Counts:
    """Score what has no reward yet and write it; counts what earlier holders wrote too."""
    by_id = {prompt.id: prompt for prompt in prompts}
    left = [row for row in stored if row.reward is None]
    if not left:
        return _Counts(scored=len(stored))
    found = dict(zip((row.id for row in left), scorer(list(_conversations(by_id, left))), strict=True))
    rewards = {id_: Reward.of(values) for id_, values in found.items() if values is not None}
    with context.transaction() as session:
        set_rewards(session, rewards)
    return _Counts(scored=len(stored) - len(left) + len(rewards), beyond_window=len(left) - len(rewards))


def _conversations(prompts: Mapping[str, PromptRow], rows: Sequence[CompletionRow]) -> Iterator[Conversation]:
    for row in rows:
        prompt = prompts[row.prompt_id]
        yield Conversation(prompt.messages, row.text, prompt.tools)
