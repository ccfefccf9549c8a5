"""Trajectory evaluations: how often whole trajectories succeed and how reliably, by a run that trains nothing."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Row
from sqlalchemy.orm import Session

from app.db.models import Judge, PromptSet, RubricRevision, Run, RunKind
from app.db.session import WriteSession
from app.errors import InvalidInput
from app.repositories import results, run_parts
from app.repositories.pages import Chunk, Slice
from app.repositories.runs import RunRow
from app.rlaif.judges import JudgeSpec, RemoteJudge, RewardModelJudge
from app.rlaif.prices import PriceTable, tariff_of, unpriced
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.sections import JudgeConfig, SampleConfig
from app.rlaif.trajectories import TrajectoriesConfig
from app.rlaif.trajectory_evidence import TrajectoryMetrics
from app.schemas.trajectory import TrajectoriesIn
from app.services import engine, evaluators, judges, prompt_sets, runs
from app.services.evaluator_rules import require_rating
from app.services.run_parts import named_revision, within
from app.services.run_plan import Plan
from app.services.run_rows import insert_run

_SPEC: TypeAdapter[JudgeSpec] = TypeAdapter(JudgeSpec)

MOST_AUTHORS = 50
"""Every two of them are compared."""


class NothingToRate(InvalidInput):
    """Raised when a prompt set has no candidate, or candidates by more authors than can be compared."""


class NotRating(InvalidInput):
    """Raised when a judge cannot read a trajectory, or its price is not known where a budget must bind."""


def create(session: WriteSession, project_id: str, request: TrajectoriesIn, *, prices: PriceTable) -> RunRow:
    """The queued run that measures. Raises NotFound, NothingToRate, NotRating, EvaluatorRefused."""
    with within("prompt_set"):
        prompt_set = prompt_sets.get(session, project_id, request.prompt_set)
    with within("judge"):
        judge = judges.get(session, project_id, request.judge)
    rubric = None
    if request.rubric is not None:
        with within("rubric"):
            rubric = named_revision(session, project_id, request.rubric)
    recipe = _recipe(request, rubric)
    _require_trials(session, prompt_set)
    _require_reading(session, project_id, recipe, judge=judge, prompt_set=prompt_set)
    _require_priced(recipe, judge, prices)
    plan = Plan(recipe, rubric, prompt_set, None, None, judge)
    run = insert_run(session, project_id, request.name, plan, kind=RunKind.EVALUATION, forked_from_id=None)
    engine.start_run(session, run)
    return runs.get(session, project_id, run.id)


def metrics(session: Session, project_id: str, run_id: str) -> TrajectoryMetrics | None:
    """What a trajectory evaluation measured; None before that, and for other runs. Raises NotFound."""
    return measured(runs.get(session, project_id, run_id))


def measured(row: RunRow) -> TrajectoryMetrics | None:
    """None before it is measured, and for a run that rates no trajectories."""
    for stage in row.stages:
        if stage.kind is StageKind.TRAJECTORIES and "authors" in stage.metrics:
            return TrajectoryMetrics.model_validate(
                {name: stage.metrics[name] for name in TrajectoryMetrics.model_fields}
            )
    return None


def page(session: Session, run: Run, slice_: Slice) -> Chunk[Row[Any]]:
    """The trajectories and what was found of each; none of a run that rates none."""
    if (config := Recipe.model_validate(run.recipe).trajectories) is None:
        return Chunk((), has_more=False, last=None)
    return results.trajectories(session, run.id, slice_, evaluator=config.evaluator().name, threshold=config.threshold)


def request_again(run: Run) -> dict[str, Any]:
    """The body that asks for the same evaluation once more."""
    recipe = run.recipe
    return {
        "name": f"{run.name} again",
        "prompt_set": run.prompt_set_id,
        "judge": run.evaluation_judge_id,
        "rubric": run.rubric_revision_id,
        "threshold": recipe["trajectories"]["threshold"],
        "minimum_coverage": recipe["judge"]["minimum_coverage"],
        "seed": recipe["seed"],
        "budget": recipe["budget"],
    }


def _recipe(request: TrajectoriesIn, rubric: RubricRevision | None) -> Recipe:
    return Recipe(
        seed=request.seed,
        stop_after=StageKind.TRAJECTORIES,
        sample=SampleConfig(source="prompt_set"),
        judge=JudgeConfig(minimum_coverage=request.minimum_coverage),
        trajectories=TrajectoriesConfig(rubric=None if rubric is None else rubric.id, threshold=request.threshold),
        budget=request.budget,
    )


def _require_trials(session: Session, prompt_set: PromptSet) -> None:
    if not run_parts.has_candidates(session, prompt_set.id, split=None, least=1):
        raise NothingToRate(
            f"no prompt of {prompt_set.id!r} has a candidate: add `candidates`, the trajectories of each task",
            field="prompt_set",
        )
    if run_parts.has_more_authors(session, prompt_set.id, than=MOST_AUTHORS):
        raise NothingToRate(
            f"the candidates of {prompt_set.id!r} have more than {MOST_AUTHORS} authors, and every two are compared: "
            "upload sets with fewer",
            field="prompt_set",
        )


def _require_reading(session: Session, project_id: str, recipe: Recipe, *, judge: Judge, prompt_set: PromptSet) -> None:
    config = recipe.trajectories
    assert config is not None  # noqa: S101  this recipe was made here
    require_rating(judge, evaluators.resolved(session, project_id, config.evaluator()), "judge", named=True)
    trained = isinstance(_SPEC.validate_python(judge.spec), RewardModelJudge)
    if trained and run_parts.has_trajectories(session, prompt_set.id, split=None):
        raise NotRating(
            f"judge {judge.name!r} is a reward model and reads texts alone, and prompts of {prompt_set.id!r} bring "
            "trajectories: name a judge of kind openai, anthropic, local or checks",
            field="judge",
        )


def _require_priced(recipe: Recipe, judge: Judge, prices: PriceTable) -> None:
    spec = _SPEC.validate_python(judge.spec)
    if recipe.budget.judge_usd is not None and isinstance(spec, RemoteJudge) and tariff_of(spec, prices) is None:
        raise NotRating(unpriced(judge.name, spec), field="judge")
