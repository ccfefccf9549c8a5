"""Capability tasks in an evaluation: asked of the base model and of each policy, and compared document by document.

Outcomes are kept by the digests of task and model, so whoever asks the same model again, in another round, candidate,
run or evaluation, finds them there; an interrupted shard goes on behind the last batch that it stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.repositories import tasks as rows
from app.repositories.checkpoints import CheckpointRow
from app.repositories.pages import Slice
from app.repositories.tasks import OutcomeRow
from app.rlaif.resampling import Resampler
from app.rlaif.seeds import derive_seed
from app.rlaif.task import TaskConfig
from app.rlaif.task_evidence import TaskResult, figure
from app.rlaif.task_template import Question
from app.services import tasks
from workers.stages.contract import StageContext, StageRefused
from workers.stages.inputs import StageInputs, stopped
from workers.stages.weights import model_directory

if TYPE_CHECKING:
    from workers.sampling.language_model import LanguageModel

DOCUMENTS_AT_ONCE = 64
"""Documents that are asked about and stored together: what a kill can cost."""


@dataclass(frozen=True, slots=True)
class AskedTask:
    """A task of the recipe, with what names it there."""

    name: str
    id: str
    digest: str
    documents: int
    config: TaskConfig


def task_results(context: StageContext, inputs: StageInputs, policy: CheckpointRow) -> dict[str, TaskResult]:
    """What the policy and the base model score, by the name that the recipe gives each task; what is missing is asked.

    Raises GiveBack, StageRefused.
    """
    if not (asked := _asked_tasks(context)):
        return {}
    base = inputs.base_model()
    for storage_key, digest in ((base.storage_key, base.digest), (policy.storage_key, policy.digest)):
        open_tasks = [task for task in asked if len(_outcomes(context, task, digest)) < task.documents]
        if open_tasks:
            _answer(context, storage_key, digest, open_tasks)
    return {task.name: _result(context, task, base.digest, policy.digest) for task in asked}


def _asked_tasks(context: StageContext) -> list[AskedTask]:
    """The tasks that the recipe names."""
    found = []
    for name in context.work.recipe.evaluate.tasks or ():
        with context.read() as session:
            task = tasks.find(session, context.work.project_id, name)
        config = TaskConfig.model_validate(task.config)
        found.append(AskedTask(name, task.id, task.digest, task.document_count, config))
    return found


def _answer(context: StageContext, storage_key: str, digest: str, asked: Sequence[AskedTask]) -> None:
    from workers.sampling.language_model import LanguageModel  # torch

    language_model = LanguageModel.load(model_directory(context, storage_key))
    for task in asked:
        stored = {row.position for row in _outcomes(context, task, digest)}
        for positions, questions in _questions(context, task):
            missing = [place for place, position in enumerate(positions) if position not in stored]
            if missing:
                new = _scored(context, language_model, task, [questions[place] for place in missing])
                unit = {"project_id": context.work.project_id, "digest": task.digest, "model_digest": digest}
                with context.transaction() as session:
                    rows.add_outcomes(
                        session,
                        [
                            {**unit, "position": positions[place], **outcome}
                            for place, outcome in zip(missing, new, strict=True)
                        ],
                    )


def _scored(
    context: StageContext, language_model: LanguageModel, task: AskedTask, questions: Sequence[Question]
) -> list[dict[str, Any]]:
    """Raises GiveBack when asked to stop."""
    from workers.sampling.continuations import WindowTooSmall  # torch
    from workers.sampling.task_answers import answered

    try:
        outcomes = answered(
            language_model,
            task.config,
            questions,
            batch_size=context.work.recipe.sample.batch_size,
            should_stop=context.progress.should_stop,
        )
    except WindowTooSmall as error:
        raise StageRefused("task_too_long", f"task {task.name!r}: {error}") from error
    if outcomes is None:
        raise stopped(context)
    return [{"text": each.text, "logprobs": list(each.logprobs), "scores": each.scores} for each in outcomes]


def _questions(context: StageContext, task: AskedTask) -> Iterator[tuple[list[int], list[Question]]]:
    """A task's questions with their positions, some at a time."""
    after: str | None = None
    while True:
        with context.read() as session:
            found = rows.documents(session, task.id, Slice(DOCUMENTS_AT_ONCE, after))
            questions = [
                Question(row.system, row.context, tuple(row.choices), tuple(row.gold), tuple(row.targets))
                for row in found.rows
            ]
            positions = [row.position for row in found.rows]
        yield positions, questions
        if not found.has_more:
            return
        after = found.last


def _outcomes(context: StageContext, task: AskedTask, model_digest: str) -> list[OutcomeRow]:
    with context.read() as session:
        return rows.outcomes(session, context.work.project_id, digest=task.digest, model_digest=model_digest)


def _result(context: StageContext, task: AskedTask, base_digest: str, policy_digest: str) -> TaskResult:
    base, policy = ([row.scores for row in _outcomes(context, task, each)] for each in (base_digest, policy_digest))
    if not len(base) == len(policy) == task.documents:
        raise StageRefused(
            "task_unanswered",
            f"task {task.name!r} has {task.documents} documents, and {len(base)} outcomes of the base model and "
            f"{len(policy)} of the policy are stored: retry the run",
        )
    config = context.work.recipe.evaluate
    seed = derive_seed(context.work.recipe.seed, context.work.round, "task", task.digest)
    resampler = Resampler(seed, config.bootstrap_samples)
    named = task.config.figures().items()
    return TaskResult(
        task_id=task.id,
        digest=task.digest,
        documents=task.documents,
        base_digest=base_digest,
        policy_digest=policy_digest,
        figures=[figure(name, metric, base, policy, resampler=resampler) for name, metric in named],
    )
