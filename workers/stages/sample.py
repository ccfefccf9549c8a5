"""Samples completions, or imports the candidates that the prompts bring."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.db.ids import Kind, new_id
from app.db.models import Completion, CompletionSource, Split
from app.repositories.completions import completions_of
from app.repositories.prompts import PromptRow
from app.repositories.run_inputs import JudgeRow, ModelRow
from app.repositories.units import add_missing
from app.rlaif.messages import Message, transcript
from app.rlaif.pipeline import PhaseName
from app.rlaif.seeds import derive_seed
from workers.sampling.engine import PromptTooLong, SampledCompletion, SampleRequest, SamplingStopped
from workers.stages.contract import StageContext, StageOutcome, StageRefused
from workers.stages.inputs import StageInputs, shard_prompts, stop_if_asked, stopped
from workers.stages.room import Room
from workers.stages.subjects import subject
from workers.stages.tokens import Tokenizer
from workers.stages.weights import model_directory

if TYPE_CHECKING:
    from workers.sampling.sampler import Sampler


def run(context: StageContext) -> StageOutcome:
    """Raises GiveBack, StageRefused."""
    inputs = StageInputs.load(context)
    if context.work.phase is PhaseName.IMPORT:
        return import_candidates(context, inputs)
    config = context.work.recipe.sample
    if (measure := context.work.recipe.measure) is not None:
        return sample_subject(context, inputs, measure.baseline, CompletionSource.BASE, config.held_out_completions)
    held_out = context.work.payload["split"] == Split.HELD_OUT
    if held_out and context.work.round > 0 and config.held_out_completions < 2:
        return StageOutcome(context.work.payload["limit"])  # of one completion no pair is made, and it is no baseline
    return sample_shard(
        context,
        inputs,
        storage_key=_asked(context, inputs).storage_key,
        source=CompletionSource.BASE,
        count=config.held_out_completions if held_out else config.completions,
    )


def sample_subject(
    context: StageContext, inputs: StageInputs, id_: str, source: CompletionSource, count: int
) -> StageOutcome:
    """What a model or an endpoint that an evaluation names answers to a range of held-out prompts."""
    found = subject(context, id_)
    if isinstance(found, JudgeRow):
        from workers.stages.answering import answer_shard  # which stands on this module

        return answer_shard(context, inputs, found, source=source, count=count)
    return sample_shard(context, inputs, storage_key=found.storage_key, source=source, count=count)


def _asked(context: StageContext, inputs: StageInputs) -> ModelRow:
    """What the round starts from; but of held-out prompts the first round has the base model's completions, since every
    evaluation compares with them, and a warm start is part of what is evaluated."""
    held_out = context.work.payload["split"] == Split.HELD_OUT
    return inputs.base_model() if held_out and context.work.round == 0 else inputs.start_model()


def sample_shard(
    context: StageContext, inputs: StageInputs, *, storage_key: str, source: CompletionSource, count: int
) -> StageOutcome:
    """Draw what is missing of `count` completions of each prompt that fits, and store it batch by batch."""
    room = Room(context, inputs, Tokenizer.load(context, storage_key), sampled=True)
    units = 0
    requests: list[SampleRequest] = []
    for prompts in shard_prompts(context, inputs.run.prompt_set_id):
        units += len(prompts)
        requests += missing(context, room.admit(prompts), source, count)
    metrics = room.metrics()
    if requests:
        _draw(context, model_directory(context, storage_key), requests, source)
    return StageOutcome(units, metrics)


def import_candidates(context: StageContext, inputs: StageInputs) -> StageOutcome:
    """Each prompt's own candidates as completions; measured in tokens where the run has a base model to train."""
    model = inputs.run.base_model
    measure = None if model is None else _Measure(context, inputs, Tokenizer.load(context, model.storage_key))
    units = 0
    for prompts in shard_prompts(context, inputs.run.prompt_set_id):
        stop_if_asked(context)
        rows = [row for prompt in prompts for row in candidates(context, prompt)]
        if measure is not None:
            rows = measure.measured(prompts, rows)
        with context.transaction() as session:
            add_missing(session, Completion, rows)
        units += len(prompts)
        context.progress.report(units, context.work.payload["limit"], {})
    return StageOutcome(units, {} if measure is None else measure.room.metrics())


class _Measure:
    """Counts the tokens of prompts and of their candidates."""

    def __init__(self, context: StageContext, inputs: StageInputs, tokenizer: Tokenizer) -> None:
        self.room = Room(context, inputs, tokenizer, sampled=False)
        self._tokenizer = tokenizer

    def measured(self, prompts: Sequence[PromptRow], rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        tokens = {prompt.id: self.room.tokens(prompt) for prompt in self.room.admit(prompts)}
        return [
            row | {"prompt_tokens": tokens[row["prompt_id"]], "tokens": len(self._tokenizer.encode(row["text"]))}
            for row in rows
        ]


def missing(
    context: StageContext, prompts: Sequence[PromptRow], source: CompletionSource, count: int
) -> Iterator[SampleRequest]:
    """What is not stored yet. A request's key is the prompt's id and the completion's position."""
    work = context.work
    split = Split(work.payload["split"])
    with context.read() as session:
        stored = completions_of(
            session,
            work.run_id,
            round_=work.round,
            split=split,
            sources=(source,),
            prompt_ids=[prompt.id for prompt in prompts],
            candidate=work.candidate,
        )
    drawn = {(row.prompt_id, row.position) for row in stored}
    for prompt in prompts:
        for position in range(count):
            if (prompt.id, position) not in drawn:
                seed = derive_seed(work.recipe.seed, work.round, split, source, prompt.external_id, position)
                yield SampleRequest(f"{prompt.id}:{position}", prompt.messages, seed, prompt.tools)


def _draw(context: StageContext, model_dir: Path, requests: Sequence[SampleRequest], source: CompletionSource) -> None:
    config = context.work.recipe.sample
    completions = _sampler(context, model_dir).sample(
        requests,
        temperature=config.temperature,
        top_p=config.top_p,
        max_new_tokens=config.max_new_tokens,
        batch_size=config.batch_size,
        progress=context.progress,
    )
    try:
        for batch in _batches(completions, config.batch_size):
            with context.transaction() as session:
                add_missing(session, Completion, [_row(context, completion, source) for completion in batch])
    except SamplingStopped as error:
        raise stopped(context) from error
    except PromptTooLong as error:
        raise StageRefused("prompt_too_long", str(error)) from error


def _sampler(context: StageContext, model_dir: Path) -> Sampler:
    """What the deployment draws with. Raises StageRefused where that is not installed."""
    if context.settings.sampler == "transformers":
        from workers.sampling.transformers import TransformersSampler  # torch: only where a model runs

        return TransformersSampler(model_dir)
    from workers.sampling.vllm import EngineMissing, VLLMSampler

    try:
        return VLLMSampler(model_dir)
    except EngineMissing as error:
        raise StageRefused("engine_missing", str(error)) from error


def _batches(completions: Iterable[SampledCompletion], size: int) -> Iterator[list[SampledCompletion]]:
    """Batches as the sampler decodes them: each is stored before the next is drawn."""
    source = iter(completions)
    while batch := list(islice(source, size)):
        yield batch


def _row(context: StageContext, completion: SampledCompletion, source: CompletionSource) -> dict[str, Any]:
    prompt_id, _, position = completion.key.rpartition(":")
    return completion_unit(context, source, prompt_id, int(position)) | {
        "text": completion.text,
        "finish_reason": completion.finish_reason.value,
        "prompt_tokens": completion.prompt_token_count,
        "tokens": completion.token_count,
        "seed": completion.seed,
    }


def candidates(context: StageContext, prompt: PromptRow) -> Iterator[dict[str, Any]]:
    """The prompt's own candidates as rows of completions."""
    for position, candidate in enumerate(prompt.candidates):
        turns = None if isinstance(candidate, str) else tuple(map(Message.model_validate, candidate))
        yield completion_unit(context, CompletionSource.IMPORTED, prompt.id, position) | {
            "text": candidate if turns is None else transcript(turns),
            "turns": None if turns is None else candidate,
            "finish_reason": "imported",
            "prompt_tokens": None,
            "tokens": None,
        }


def completion_unit(context: StageContext, source: CompletionSource, prompt_id: str, position: int) -> dict[str, Any]:
    """The columns that name a completion."""
    work = context.work
    return {
        "id": new_id(Kind.COMPLETION),
        "project_id": work.project_id,
        "run_id": work.run_id,
        "round": work.round,
        "candidate": work.candidate,
        "split": Split(work.payload["split"]),
        "source": source,
        "prompt_id": prompt_id,
        "position": position,
    }
