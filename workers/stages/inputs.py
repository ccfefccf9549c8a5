"""What every stage function starts from: the run's inputs, and whose rows stand for the stages before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from sqlalchemy.orm import Session

from app.db.models import CheckpointKind, CompletionSource, Split
from app.repositories.checkpoints import latest_checkpoint, selected_policy
from app.repositories.lineage import run_behind
from app.repositories.prompts import PromptRow, prompts_after, prompts_in_range
from app.repositories.run_inputs import (
    JudgeRow,
    ModelRow,
    RunInputs,
    checkpoint_model,
    run_inputs,
    training_judge,
)
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.rubric import Criterion, Rubric
from workers.stages.contract import GiveBack, ShardWork, StageContext, StageRefused

PROMPTS_AT_ONCE = 128
"""Prompts whose rows are read and written together: bounds memory and a statement's parameters."""


@dataclass(frozen=True, slots=True)
class StageInputs:
    """The run's inputs, and for each stage the run that executed it (this one, or the one it was forked from).

    `first` is the same of the first round, whose base completions every round is measured against. `judge_behind` is
    the judge whose verdicts the preferences rest on; None where they were imported. `start` is what the round starts
    from where that is not the base model.
    """

    run: RunInputs
    behind: Mapping[StageKind, str]
    first: Mapping[StageKind, str]
    judge_behind: JudgeRow | None
    start: ModelRow | None = None

    @classmethod
    def load(cls, context: StageContext) -> Self:
        work = context.work
        with context.read() as session:
            run = run_inputs(session, work.run_id)
            behind, first = (_behind(session, work.run_id, round_=round_) for round_ in (work.round, 0))
            judge = training_judge(session, behind[StageKind.JUDGE])
            start = _start(session, work, behind)
        imported = work.recipe.prefer.source == "prompt_set"
        return cls(run, behind, first, None if imported else judge, start)

    def rubric(self) -> Rubric:
        """Raises StageRefused for a run without a rubric."""
        if self.run.rubric is None:
            raise StageRefused(
                "no_rubric", "the run has no rubric to judge by: create it again with rubric_revision_id"
            )
        return Rubric.model_validate(self.run.rubric.content)

    def base_model(self) -> ModelRow:
        """Raises StageRefused for a run without one, which trains nothing."""
        if self.run.base_model is None:
            raise StageRefused(
                "no_base_model", "the run has no base model for this stage: create it again with base_model"
            )
        return self.run.base_model

    def start_model(self) -> ModelRow:
        """What the round samples from and trains: the policy of the round before, the warm start's, or the base model.

        Raises StageRefused for a run without a base model.
        """
        return self.start or self.base_model()

    def training_judge(self) -> JudgeRow:
        """Raises StageRefused for a run without a judge."""
        return _required(self.run.judge, "judge_id")

    def evaluation_judge(self) -> JudgeRow:
        """Raises StageRefused for a run without an evaluation judge."""
        return _required(self.run.evaluation_judge, "evaluation_judge_id")


def _behind(session: Session, run_id: str, *, round_: int) -> dict[StageKind, str]:
    return {kind: run_behind(session, run_id, round_=round_, kind=kind) for kind in StageKind}


def _start(session: Session, work: ShardWork, behind: Mapping[StageKind, str]) -> ModelRow | None:
    if work.round > 0:
        before = run_behind(session, work.run_id, round_=work.round - 1, kind=StageKind.POLICY)
        found = selected_policy(session, before, round_=work.round - 1)
    else:
        taught = latest_checkpoint(session, behind[StageKind.WARM_START], round_=0, kind=CheckpointKind.WARM_START)
        found = None if taught is None else taught.id
    return None if found is None else checkpoint_model(session, found)


def _required(judge: JudgeRow | None, field: str) -> JudgeRow:
    if judge is None:
        raise StageRefused("no_judge", f"the run has no judge for this stage: create it again with {field}")
    return judge


def criteria_for(rubric: Rubric, prompt: PromptRow) -> Rubric:
    """The rubric with the prompt's own criteria."""
    return rubric.with_criteria(tuple(Criterion.model_validate(criterion) for criterion in prompt.criteria))


def candidate_source(recipe: Recipe) -> CompletionSource:
    """Whose completions are compared in training."""
    return CompletionSource.BASE if recipe.sample.source == "model" else CompletionSource.IMPORTED


def shard_prompts(context: StageContext, prompt_set_id: str) -> Iterator[list[PromptRow]]:
    """The shard's range of prompts, in blocks."""
    payload = context.work.payload
    split, left = Split(payload["split"]), payload["limit"]
    with context.read() as session:
        block = prompts_in_range(
            session, prompt_set_id, split=split, offset=payload["offset"], limit=min(left, PROMPTS_AT_ONCE)
        )
    while block:
        yield block
        left -= len(block)
        limit, position = min(left, PROMPTS_AT_ONCE), block[-1].position
        with context.read() as session:
            block = prompts_after(session, prompt_set_id, split=split, position=position, limit=limit)


def all_prompts(context: StageContext, prompt_set_id: str, *, split: Split) -> Iterator[list[PromptRow]]:
    """A whole split's prompts, in blocks."""
    position = -1
    while True:
        with context.read() as session:
            block = prompts_after(session, prompt_set_id, split=split, position=position, limit=PROMPTS_AT_ONCE)
        if not block:
            return
        yield block
        position = block[-1].position


def stopped(context: StageContext) -> GiveBack:
    """The end of a shard that was asked to stop: what is done stays done, the rest is done by its next holder."""
    return GiveBack("stopped", f"shard {context.work.shard_id} was asked to stop; what it finished is kept")


def stop_if_asked(context: StageContext) -> None:
    """Raises GiveBack when the run is cancelled or paused, or the worker is stopping."""
    if context.progress.should_stop():
        raise stopped(context)
