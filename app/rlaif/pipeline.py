"""How a stage is cut into phases and a phase into shards. Everything here follows from the recipe and two counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.sweep import candidates, evaluated
from app.rlaif.warm_start import ConstitutionalConfig

CANDIDATE = "candidate"
"""In a payload: the number of the candidate of a sweep that the shard works on."""


CANDIDATES = "candidates"
"""In a stage's metrics: those of each candidate, by its number."""


class Queue(StrEnum):
    """`gpu` shards run models; `io` shards call remote judges, check text and aggregate."""

    IO = "io"
    GPU = "gpu"


class PhaseName(StrEnum):
    REVISE = "revise"
    IMPORT = "import"
    SAMPLE = "sample"
    JUDGE = "judge"
    PREFER = "prefer"
    TRAIN = "train"
    SCORE = "score"
    MEASURE = "measure"


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a stage whose shards may run side by side; the next phase starts when all of them have succeeded."""

    name: PhaseName
    queue: Queue


@dataclass(frozen=True, slots=True)
class Inputs:
    """What planning needs to know of a run beside its recipe."""

    train_prompts: int
    held_out_prompts: int
    judge_is_local: bool
    evaluation_judge_is_local: bool


@dataclass(frozen=True, slots=True)
class ShardPlan:
    """One shard to be: `payload` names a range of prompts within a split, or is empty for the whole stage."""

    position: int
    payload: dict[str, Any]
    units: int


def phases(kind: StageKind, recipe: Recipe, inputs: Inputs) -> tuple[Phase, ...]:
    """The phases of a stage, in order."""
    match kind:
        case StageKind.SAMPLE:
            return _sample_phases(recipe, inputs)
        case StageKind.JUDGE:
            judging = Phase(PhaseName.JUDGE, _judge_queue(local=inputs.judge_is_local))
            return (judging, Phase(PhaseName.MEASURE, Queue.IO))
        case StageKind.CALIBRATE:
            return (Phase(PhaseName.MEASURE, Queue.IO),)
        case StageKind.PREFER:
            return (Phase(PhaseName.PREFER, Queue.IO),)
        case StageKind.WARM_START:
            return _warm_start_phases(recipe)
        case StageKind.REWARD_MODEL | StageKind.POLICY:
            return (Phase(PhaseName.TRAIN, Queue.GPU),)
        case StageKind.EVALUATE:
            endpoint = recipe.measure is not None and recipe.measure.measures_endpoint
            return (
                Phase(PhaseName.SAMPLE, Queue.IO if endpoint else Queue.GPU),
                Phase(PhaseName.SCORE, Queue.GPU),
                Phase(PhaseName.JUDGE, _judge_queue(local=inputs.evaluation_judge_is_local)),
                Phase(PhaseName.MEASURE, Queue.IO),
            )
        case StageKind.SCORE:
            return (Phase(PhaseName.SCORE, Queue.GPU),)
        case StageKind.TRAJECTORIES:
            judging = Phase(PhaseName.JUDGE, _judge_queue(local=inputs.evaluation_judge_is_local))
            return (Phase(PhaseName.IMPORT, Queue.IO), judging, Phase(PhaseName.MEASURE, Queue.IO))


def _warm_start_phases(recipe: Recipe) -> tuple[Phase, ...]:
    """A model's own answers are revised, of held-out prompts too, before it is trained on those of train prompts."""
    training = Phase(PhaseName.TRAIN, Queue.GPU)
    revises = isinstance(recipe.warm_start, ConstitutionalConfig)
    return (Phase(PhaseName.REVISE, Queue.GPU), training) if revises else (training,)


def _sample_phases(recipe: Recipe, inputs: Inputs) -> tuple[Phase, ...]:
    """Imported candidates need no model, but evaluation still needs the base model's held-out completions."""
    if recipe.measure is not None:
        return (Phase(PhaseName.SAMPLE, Queue.IO if recipe.measure.meets_endpoint else Queue.GPU),)
    if recipe.sample.source == "model":
        return (Phase(PhaseName.SAMPLE, Queue.GPU),)
    imported = Phase(PhaseName.IMPORT, Queue.IO)
    evaluates = StageKind.EVALUATE in recipe.stages() and inputs.held_out_prompts > 0
    return (imported, Phase(PhaseName.SAMPLE, Queue.GPU)) if evaluates else (imported,)


def _judge_queue(*, local: bool) -> Queue:
    return Queue.GPU if local else Queue.IO


def plan(kind: StageKind, phase: PhaseName, recipe: Recipe, inputs: Inputs) -> tuple[ShardPlan, ...]:
    """The shards of one phase. A payload is a range of a split's prompts, `{"split", "offset", "limit"}`, or `{}`.

    What is done for each candidate of a sweep has these shards once a candidate, and its number in them.
    """
    payloads = list(_payloads(kind, phase, recipe, inputs))
    if (numbers := _swept(kind, phase, recipe)) is not None:
        payloads = [{**payload, CANDIDATE: number} for number in numbers for payload in payloads]
    return tuple(ShardPlan(i, payload, payload.get("limit", 1)) for i, payload in enumerate(payloads))


def _payloads(kind: StageKind, phase: PhaseName, recipe: Recipe, inputs: Inputs) -> Iterator[dict[str, Any]]:
    if (size := _prompts_per_shard(kind, phase, recipe)) is None:
        yield {}
        return
    train, held_out = _counts(kind, phase, recipe, inputs)
    yield from _ranges("train", train, size)
    yield from _ranges("held_out", held_out, size)


def _prompts_per_shard(kind: StageKind, phase: PhaseName, recipe: Recipe) -> int | None:
    """None for a phase that is one shard."""
    if kind is StageKind.SCORE and recipe.score is not None:
        return recipe.score.prompts_per_shard
    match phase:
        case PhaseName.JUDGE:
            return recipe.judge.prompts_per_shard
        case PhaseName.REVISE | PhaseName.IMPORT | PhaseName.SAMPLE:
            return recipe.sample.prompts_per_shard
        case _:
            return None


def _swept(kind: StageKind, phase: PhaseName, recipe: Recipe) -> tuple[int, ...] | None:
    """The candidates that a phase works on, one by one; None where it does not tell them apart."""
    if recipe.sweep is None or phase is PhaseName.MEASURE:
        return None
    match kind:
        case StageKind.POLICY:
            return tuple(range(len(candidates(recipe))))
        case StageKind.EVALUATE:
            return evaluated(recipe)
        case _:
            return None


def _counts(kind: StageKind, phase: PhaseName, recipe: Recipe, inputs: Inputs) -> tuple[int, int]:
    """How many train and held-out prompts a phase works on, from the first of each split on."""
    if (calibrate := recipe.calibrate) is None:
        return 0 if _held_out_only(kind, phase, recipe) else inputs.train_prompts, inputs.held_out_prompts
    train = 0 if calibrate.split == "held_out" else inputs.train_prompts
    held_out = 0 if calibrate.split == "train" else inputs.held_out_prompts
    left = train + held_out if calibrate.limit is None else calibrate.limit
    return min(train, left), min(held_out, max(left - train, 0))


def _held_out_only(kind: StageKind, phase: PhaseName, recipe: Recipe) -> bool:
    sampled_for_evaluation = phase is PhaseName.SAMPLE and recipe.sample.source == "prompt_set"
    return kind is StageKind.EVALUATE or sampled_for_evaluation or recipe.measure is not None


def _ranges(split: str, count: int, size: int) -> Iterator[dict[str, Any]]:
    for offset in range(0, count, size):
        yield {"split": split, "offset": offset, "limit": min(size, count - offset)}
