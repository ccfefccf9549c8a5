"""Going on from another run's stage: what a fork inherits, what must not differ, and the stages that it reuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import Judge, Model, PromptSet, RubricRevision, Run, RunKind, Stage, StageStatus
from app.errors import Conflict, InvalidInput, NotFound
from app.repositories import runs
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.sweep import candidates
from app.rlaif.warm_start import ConstitutionalConfig
from app.schemas.run import ForkIn
from app.services.run_parts import Parts

_OWN = ("stop_after", "budget")
_KINDS = tuple(StageKind)
_DONE = (StageStatus.SUCCEEDED, StageStatus.REUSED)
Row = TypeVar("Row", RubricRevision, Judge, Model)


class ForkRefused(InvalidInput):
    """Raised when a fork would change what the stages that it reuses were made from."""


class StageNotFinished(Conflict):
    """Raised when a stage that a fork would reuse has not succeeded."""


@dataclass(frozen=True, slots=True)
class Fork:
    """The run that is gone on from, and its stages that are reused."""

    source: Run
    from_stage: StageKind
    reused: tuple[Stage, ...]


def open_fork(session: Session, project_id: str, request: ForkIn, *, round_: int) -> Fork:
    """Going on in a round: that and the rounds before it are reused up to the stage. What follows is the fork's own.

    Raises NotFound, ForkRefused, StageNotFinished.
    """
    source = runs.get(session, project_id, request.run)
    if source is None:
        raise NotFound.of("run", request.run)
    if source.kind is not RunKind.PIPELINE:
        raise ForkRefused(
            f"run {source.id!r} is a {source.kind} and trains nothing, so nothing can go on from it: make a run of its "
            "prompt set instead",
            field="fork.run",
        )
    recipe = Recipe.model_validate(source.recipe)
    if request.from_stage in (StageKind.WARM_START, recipe.stages()[0]):
        raise ForkRefused("a fork from the first stage reuses nothing: create a run instead", field="fork.from_stage")
    before = _KINDS[: _KINDS.index(request.from_stage)]
    stages = runs.stages(session, source.id)
    _require_whole(source, stages)
    reused = tuple(stage for stage in stages if stage.kind in before and stage.round <= round_)
    whole = recipe.model_copy(update={"stop_after": _KINDS[-1]})
    expected = {  # those behind its `stop_after` never ran
        (each, kind) for each in range(round_ + 1) for kind in whole.stages_of(each) if kind in before
    }
    missing = sorted(expected ^ {(stage.round, stage.kind) for stage in reused if stage.status in _DONE})
    if missing or not reused:
        raise StageNotFinished(
            f"stage {(missing or [(0, before[0])])[0][1].value!r} of run {source.id!r} has not succeeded, so it cannot "
            "be reused: wait for it, or fork from an earlier stage",
        )
    return Fork(source, request.from_stage, reused)


def _require_whole(source: Run, stages: Sequence[Stage]) -> None:
    """A run that measures a later round's policy reuses another run's rounds: going on from the first is not its."""
    if any(stage.round > 0 and stage.status is StageStatus.REUSED for stage in stages):
        raise ForkRefused(
            f"run {source.id!r} measures a later round's policy of run {source.forked_from_id!r}: fork from that run",
            field="fork.run",
        )


def merged_recipe(session: Session, fork: Fork, changes: Recipe) -> Recipe:
    """The source run's recipe with the fields that the request states; `stop_after` and `budget` are the fork's own.

    Raises ForkRefused when a reused stage's section would differ, or the outcome is no recipe.
    """
    source = {name: value for name, value in fork.source.recipe.items() if name not in _OWN}
    stated = changes.model_dump(mode="json", exclude_unset=True)
    try:
        recipe = Recipe.model_validate(_over(source, stated))
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(("recipe", *map(str, first["loc"])))
        raise ForkRefused(f"merged with the recipe of {fork.source.id!r}: {first['msg']}", field=field) from error
    for stage in fork.reused:
        section = stage.kind.value
        if _made_with(recipe, stage.kind) != _made_with(Recipe.model_validate(fork.source.recipe), stage.kind):
            raise ForkRefused(
                f"recipe.{section} differs from that of run {fork.source.id!r}, whose stage is reused: leave it out, "
                f"or fork from {section!r}",
                field=f"recipe.{section}",
            )
    _require_stage(fork, recipe)
    _require_warm_start(fork, recipe)
    _require_baseline(session, fork, recipe)
    return recipe


def _made_with(recipe: Recipe, kind: StageKind) -> tuple[BaseModel | None, ...]:
    """What the stage's rows were made with. By which calibration verdicts are read is no part of that, but of a
    cascade, which is asked by it: there a fork from 'judge' is needed."""
    if kind is StageKind.POLICY:
        return tuple(one.policy for one in candidates(recipe))
    part: BaseModel | None = getattr(recipe, kind.value)
    return (part.model_copy(update={"calibration": None}) if part and kind is StageKind.JUDGE else part,)


def inherited(session: Session, fork: Fork, parts: Parts) -> Parts:
    """The parts, with those of the source run where none was named. Raises ForkRefused."""
    source, reused = fork.source, {stage.kind for stage in fork.reused}
    recipe = Recipe.model_validate(source.recipe)
    rewarded = StageKind.POLICY in reused and recipe.rewards_by_judge()
    revised = StageKind.WARM_START in reused and isinstance(recipe.warm_start, ConstitutionalConfig)
    whole = Parts(
        rubric=parts.rubric or _existing(session, RubricRevision, source.rubric_revision_id),
        prompt_set=parts.prompt_set or session.get_one(PromptSet, source.prompt_set_id),
        base_model=parts.base_model or _existing(session, Model, source.base_model_id),
        judge=parts.judge or _existing(session, Judge, source.judge_id),
        evaluation_judge=parts.evaluation_judge or _existing(session, Judge, source.evaluation_judge_id),
    )
    _require_same("prompt_set", whole.prompt_set, source.prompt_set_id, source)
    _require_same("base_model", whole.base_model, source.base_model_id, source)
    if StageKind.JUDGE in reused or rewarded or revised:
        _require_same("rubric", whole.rubric, source.rubric_revision_id, source)
    if StageKind.JUDGE in reused or rewarded:
        _require_same("judge", whole.judge, source.judge_id, source)
    return whole


def add_reused_stages(session: Session, fork: Fork, run: Run) -> None:
    """Rows that stand for the source's stages: their figures, without their cost."""
    for stage in fork.reused:
        session.add(
            Stage(
                id=new_id(Kind.STAGE),
                project_id=run.project_id,
                run_id=run.id,
                round=stage.round,
                position=stage.position,
                kind=stage.kind,
                status=StageStatus.REUSED,
                source_run_id=stage.source_run_id or fork.source.id,
                total_shards=stage.total_shards,
                done_shards=stage.done_shards,
                total_units=stage.total_units,
                done_units=stage.done_units,
                metrics=stage.metrics,
            )
        )
    session.flush()


def _over(source: dict[str, Any], stated: dict[str, Any]) -> dict[str, Any]:
    """A policy section that states another method stands for itself: methods share few settings. So does a sweep."""
    both = {name for name, part in stated.items() if isinstance(part, dict) and isinstance(source.get(name), dict)}
    sections = {name: {**source[name], **stated[name]} for name in both - {"sweep"}}
    if "method" in (policy := stated.get("policy", {})) and policy["method"] != source["policy"]["method"]:
        sections["policy"] = policy
    return {**source, **stated, **sections}


def _require_stage(fork: Fork, recipe: Recipe) -> None:
    if fork.from_stage not in recipe.stages():
        raise ForkRefused(
            f"the recipe has no stage {fork.from_stage.value!r}: it runs {', '.join(recipe.stages())}",
            field="fork.from_stage",
        )


def _require_warm_start(fork: Fork, recipe: Recipe) -> None:
    """What is reused was sampled without the warm start that a fork would add."""
    if recipe.warm_start is not None and Recipe.model_validate(fork.source.recipe).warm_start is None:
        raise ForkRefused(
            f"run {fork.source.id!r} had no warm start, and what it sampled is reused: leave recipe.warm_start out, or "
            "create a run instead",
            field="recipe.warm_start",
        )


def _require_baseline(session: Session, fork: Fork, recipe: Recipe) -> None:
    """Imported candidates are no baseline: base completions exist only where the sampling run evaluates."""
    if StageKind.EVALUATE not in recipe.stages() or recipe.sample.source == "model":
        return
    if fork.from_stage is StageKind.SAMPLE:
        return
    sampler = next(stage.source_run_id or fork.source.id for stage in fork.reused if stage.kind is StageKind.SAMPLE)
    executed = Recipe.model_validate(session.get_one(Run, sampler).recipe)
    if StageKind.EVALUATE not in executed.stages():
        raise ForkRefused(
            f"run {sampler!r} imported its completions and sampled no baseline to evaluate against: create a run "
            "instead, or set recipe.stop_after to 'policy'",
            field="fork.run",
        )


def _existing(session: Session, table: type[Row], id_: str | None) -> Row | None:
    return None if id_ is None else session.get_one(table, id_)


def _require_same(
    field: str, part: RubricRevision | PromptSet | Model | Judge | None, id_: str | None, run: Run
) -> None:
    if part is not None and part.id != id_:
        raise ForkRefused(f"{field} differs from that of run {run.id!r}, which is {id_!r}: leave it out", field=field)
