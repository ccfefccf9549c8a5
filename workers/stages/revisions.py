"""The base model answers, criticises its answers by a principle, and revises them: batch by batch, each stored whole.

A batch is answered, or criticised and revised, in one go; what is stored is never drawn again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from app.db.ids import Kind, new_id
from app.db.models import RevisedAnswer
from app.repositories.prompts import PromptRow
from app.repositories.revisions import RevisionRow, add_revised, revisions_of
from app.repositories.run_inputs import judge_row
from app.repositories.units import add_missing
from app.rlaif.critique import Ending, draw_principle
from app.rlaif.seeds import derive_seed
from app.rlaif.warm_start import ConstitutionalConfig
from workers.sampling.engine import SampledCompletion, SampleRequest, SamplingStopped
from workers.stages.contract import StageContext, StageOutcome
from workers.stages.critic import OpenCritique, consult
from workers.stages.inputs import StageInputs, shard_prompts, stopped
from workers.stages.room import Room
from workers.stages.tokens import Tokenizer
from workers.stages.weights import model_directory

if TYPE_CHECKING:
    from workers.sampling.transformers import TransformersSampler

Asked = Sequence[tuple["_Task", Sequence[dict[str, Any]]]]
"""Tasks, and the messages that the model is asked for each."""

_REVISED = ("id", "text", "finish_reason", "prompt_tokens", "tokens", "seed")


def revise_shard(context: StageContext, inputs: StageInputs, config: ConstitutionalConfig) -> StageOutcome:
    """Make what is missing of the answers to a range of prompts and of their revisions. Raises GiveBack, StageRefused.

    A prompt that leaves no room for an answer in the model's window has none.
    """
    tokenizer = Tokenizer.load(context, inputs.base_model().storage_key)
    room = Room(context, inputs, tokenizer, sampled=True)
    blocks = shard_prompts(context, inputs.run.prompt_set_id)
    prompts = [prompt for block in blocks for prompt in room.admit(block)]
    metrics = room.metrics()
    writer = _Writer(context, inputs, config, tokenizer)
    with context.read() as session:
        critic = None if config.critic is None else judge_row(session, config.critic)
    for step in range(config.revisions + 1):
        if step and critic is not None:
            consult(context, critic, writer.open_questions(step, prompts))
        writer.take(step, prompts)
    return StageOutcome(context.work.payload["limit"], metrics)


@dataclass(frozen=True, slots=True)
class _Task:
    """What is to be written in one step of one prompt: an answer, or by a principle a revision of `answer`.

    `criticised` is the stored row of a step whose critique was paid for.
    """

    prompt: PromptRow
    answer: str = ""
    principle: str = ""
    criticised: RevisionRow | None = None

    @property
    def critique(self) -> str | None:
        return None if self.criticised is None else self.criticised.critique


@dataclass(frozen=True, slots=True)
class _Quiet:
    """One batch among many: whether to stop is asked, how far it is is not told."""

    context: StageContext

    def report(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        pass

    def should_stop(self) -> bool:
        return self.context.progress.should_stop()


class _Writer:
    """The base model as it answers, criticises and revises."""

    def __init__(
        self, context: StageContext, inputs: StageInputs, config: ConstitutionalConfig, tokenizer: Tokenizer
    ) -> None:
        self._context = context
        self._storage_key = inputs.base_model().storage_key
        self._dialogue = config.dialogue()
        self._principles = inputs.rubric().principles
        self._tokenizer = tokenizer
        self._steps = config.revisions + 1

    @cached_property
    def _sampler(self) -> TransformersSampler:
        from workers.sampling.transformers import TransformersSampler  # torch: only where something is to be written

        return TransformersSampler(model_directory(self._context, self._storage_key))

    def take(self, step: int, prompts: Sequence[PromptRow]) -> None:
        """Write and store what is missing of a step. What has nothing to revise, or no room for it, ends there."""
        tasks = self._missing(step, prompts)
        size, whole = self._context.work.recipe.sample.batch_size, len(prompts)
        for start in range(0, len(tasks), size):
            batch = tasks[start : start + size]
            self._store(self._answered(batch) if step == 0 else self._revised(step, batch))
            left = len(tasks) - start - len(batch)
            self._context.progress.report((step + 1) * whole - left, self._steps * whole, {})

    def open_questions(self, step: int, prompts: Sequence[PromptRow]) -> list[OpenCritique]:
        """What is to be asked of another critic for a step, and the row that holds its answer."""
        return [
            OpenCritique(self._dialogue.critique(*self._case(task)), self._row(task, step))
            for task in self._missing(step, prompts)
            if task.criticised is None
        ]

    def _missing(self, step: int, prompts: Sequence[PromptRow]) -> list[_Task]:
        """The step's tasks without a stored end, shortest prompts first."""
        with self._context.read() as session:
            known = revisions_of(session, self._context.work.run_id, prompt_ids=[prompt.id for prompt in prompts])
        tasks = [task for prompt in prompts if (task := self._task(step, prompt, known.get(prompt.id, [])))]
        return sorted(tasks, key=lambda task: self._tokens(task.prompt, task.prompt.messages))

    def _task(self, step: int, prompt: PromptRow, steps: Sequence[RevisionRow]) -> _Task | None:
        """None for a prompt that has the step, or whose answer ended before it."""
        if step == 0:
            return None if steps else _Task(prompt)
        criticised = steps[step] if step < len(steps) else None
        before = steps[step - 1].text if step <= len(steps) else None
        if before is None or not before.strip() or (criticised is not None and criticised.text is not None):
            return None
        principle = draw_principle(
            self._principles, seed=self._context.work.recipe.seed, prompt=prompt.external_id, step=step
        )
        return _Task(prompt, before, principle, criticised)

    def _answered(self, tasks: Sequence[_Task]) -> list[tuple[_Task, dict[str, Any]]]:
        drawn = self._draw("answer", 0, [(task, task.prompt.messages) for task in tasks])
        return [(task, self._row(task, 0) | _text(drawn[task.prompt.id])) for task in tasks]

    def _revised(self, step: int, tasks: Sequence[_Task]) -> list[tuple[_Task, dict[str, Any]]]:
        """Rows of all tasks: where critique or revision would not fit into the window, they say so."""
        asked = [(task, self._dialogue.critique(*self._case(task))) for task in tasks if task.critique is None]
        drawn = self._draw("critique", step, asked)
        critiques = {task.prompt.id: task.critique for task in tasks if task.critique is not None}
        critiques |= {id_: critique.text for id_, critique in drawn.items()}
        wanted = [
            (task, self._dialogue.revision(*self._case(task), critiques[task.prompt.id]))
            for task in tasks
            if task.prompt.id in critiques
        ]
        revisions = self._draw("revision", step, wanted)
        return [
            (task, self._row(task, step) | _critique(drawn.get(task.prompt.id)) | _text(revisions.get(task.prompt.id)))
            for task in tasks
        ]

    @staticmethod
    def _case(task: _Task) -> tuple[Sequence[dict[str, Any]], str, str]:
        return task.prompt.messages, task.answer, task.principle

    def _store(self, rows: Sequence[tuple[_Task, dict[str, Any]]]) -> None:
        """What was criticised elsewhere has its row already, and keeps its critique."""
        with self._context.transaction() as session:
            add_missing(session, RevisedAnswer, [row for task, row in rows if task.criticised is None])
            add_revised(session, [{name: row[name] for name in _REVISED} for task, row in rows if task.criticised])

    def _draw(self, what: str, step: int, asked: Asked) -> dict[str, SampledCompletion]:
        """By prompt id; what leaves no room for an answer is absent. Raises GiveBack when asked to stop."""
        config = self._context.work.recipe.sample
        requests = [self._request(what, step, task, messages) for task, messages in asked if self._fits(task, messages)]
        drawn = self._sampler.sample(
            requests,
            temperature=config.temperature,
            top_p=config.top_p,
            max_new_tokens=config.max_new_tokens,
            batch_size=config.batch_size,
            progress=_Quiet(self._context),
        )
        try:
            return {completion.key: completion for completion in drawn}
        except SamplingStopped as error:
            raise stopped(self._context) from error

    def _request(self, what: str, step: int, task: _Task, messages: Sequence[dict[str, Any]]) -> SampleRequest:
        work = self._context.work
        seed = derive_seed(work.recipe.seed, work.kind, what, task.prompt.external_id, step)
        return SampleRequest(task.prompt.id, messages, seed, task.prompt.tools)

    def _fits(self, task: _Task, messages: Sequence[dict[str, Any]]) -> bool:
        window, most = self._tokenizer.window, self._context.work.recipe.sample.max_new_tokens
        return window is None or self._tokens(task.prompt, messages) + most <= window

    def _tokens(self, prompt: PromptRow, messages: Sequence[dict[str, Any]]) -> int:
        return self._tokenizer.count_prompt(replace(prompt, messages=list(messages)))

    def _row(self, task: _Task, step: int) -> dict[str, Any]:
        """The columns that name a step, without what was written in it."""
        work = self._context.work
        return {
            "id": new_id(Kind.REVISED_ANSWER) if task.criticised is None else task.criticised.id,
            "project_id": work.project_id,
            "run_id": work.run_id,
            "split": task.prompt.split.value,
            "prompt_id": task.prompt.id,
            "step": step,
            "principle": task.principle or None,
            **_critique(None),
        }


def _critique(written: SampledCompletion | None) -> dict[str, Any]:
    return {
        "critique": written and written.text,
        "critique_tokens": written and written.token_count,
        "critique_seed": written and written.seed,
    }


def _text(written: SampledCompletion | None) -> dict[str, Any]:
    return {
        "text": written.text if written else "",
        "finish_reason": Ending(written.finish_reason).value if written else Ending.NO_ROOM.value,
        "prompt_tokens": written and written.prompt_token_count,
        "tokens": written and written.token_count,
        "seed": written and written.seed,
    }
