"""Evaluations without training: a model, a checkpoint or an endpoint against another, on any prompts, by a judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from app.db.ids import Kind
from app.db.models import Checkpoint, CheckpointKind, Judge, Model, PromptSet, Run, RunKind
from app.db.session import WriteSession
from app.errors import InvalidInput
from app.repositories import models as model_rows
from app.repositories import run_parts
from app.repositories.runs import RunRow
from app.rlaif.judges import RemoteJudge
from app.rlaif.measure import MeasureConfig
from app.rlaif.prices import PriceTable, tariff_of, unpriced
from app.rlaif.recipe import Recipe
from app.rlaif.sections import SampleConfig
from app.schemas.evaluation import AnswerConfig, MeasureIn
from app.services import checkpoints, engine, judges, models, prompt_sets, runs
from app.services.evaluations import fields_of_an_evaluation
from app.services.independence import (
    CircularEvaluation,
    asked_of,
    is_circular,
    require_other_family,
    weights_of,
    with_teachers,
)
from app.services.run_parts import named_revision, within
from app.services.run_plan import Plan
from app.services.run_rows import insert_run
from app.services.run_rules import require_priced, require_sound
from app.services.sweep_rules import SweepRefused
from app.storage import ArtifactStore

CONTROLS = 2
"""Completions of the baseline for a held-out prompt, at least: it also meets itself."""


class NotAnswering(InvalidInput):
    """Raised when what is to be measured, or measured against, answers no prompt."""


class PromptsNotAnswerable(InvalidInput):
    """Raised when prompts bring tools or tool turns, and an endpoint is to answer them."""


@dataclass(frozen=True, slots=True)
class _Subject:
    """`id` is a model's or a judge's; `model` the weights, None of an endpoint."""

    id: str
    model: Model | None


def create(
    session: WriteSession, project_id: str, request: MeasureIn, *, store: ArtifactStore, prices: PriceTable
) -> RunRow:
    """The queued run that measures.

    Raises NotFound, NotAnswering, PromptsNotAnswerable, RunRefused, SweepRefused,
    CircularEvaluation, SameFamily.
    """
    _require_no_candidate(request)
    measured = _subject(session, project_id, "measured", request.measured)
    baseline = _subject(session, project_id, "baseline", request.baseline)
    with within("prompt_set"):
        prompt_set = prompt_sets.get(session, project_id, request.prompt_set)
    with within("rubric"):
        rubric = named_revision(session, project_id, request.rubric)
    with within("judge"):
        judge = judges.get(session, project_id, request.judge)
    sample = request.sample.model_dump() | {
        "held_out_completions": max(CONTROLS, request.evaluate.completions),
    }
    recipe = Recipe(
        seed=request.seed,
        sample=SampleConfig(**sample),
        evaluate=request.evaluate,
        budget=request.budget,
        measure=MeasureConfig(measured=measured.id, baseline=baseline.id),
    )
    plan = Plan(recipe, rubric, prompt_set, baseline.model, None, judge)
    _require_answerable(session, prompt_set, measured, baseline)
    _require_tasks_have_weights(request, measured, baseline)
    with fields_of_an_evaluation():
        # it trains nothing: who taught what is asked below
        require_sound(session, store, plan, allow_circular=True, allow_same_family=True)
        require_priced(session, plan, prices)
    _require_endpoints_priced(session, recipe, prices)
    if not request.allow_circular_evaluation:
        _require_independence(session, plan, allow_same_family=request.allow_same_family)
    run = insert_run(session, project_id, request.name, plan, kind=RunKind.EVALUATION, forked_from_id=None)
    engine.start_run(session, run)
    return runs.get(session, project_id, run.id)


def taught_or_asked(session: Session, measure: MeasureConfig | None) -> list[Judge]:
    """Who must not measure: the judges that taught the measured checkpoint or the baseline, and the endpoints."""
    found: list[Judge] = []
    for id_ in () if measure is None else (measure.measured, measure.baseline):
        if id_.startswith(f"{Kind.JUDGE}_"):
            found.append(session.get_one(Judge, id_))
            continue
        checkpoint_id = session.get_one(Model, id_).checkpoint_id
        taught_by = () if checkpoint_id is None else session.get_one(Checkpoint, checkpoint_id).lineage["judges"]
        found += [session.get_one(Judge, judge_id) for judge_id in taught_by]
    return found


def subject_name(session: Session, id_: str) -> str:
    """The name of a model, or of a judge whose endpoint answers."""
    if id_.startswith(f"{Kind.JUDGE}_"):
        return session.get_one(Judge, id_).name
    return session.get_one(Model, id_).name


def request_again(run: Run) -> dict[str, Any]:
    """The body that asks for the same evaluation once more."""
    recipe = run.recipe
    return {
        "name": f"{run.name} again",
        **recipe["measure"],
        "prompt_set": run.prompt_set_id,
        "rubric": run.rubric_revision_id,
        "judge": run.evaluation_judge_id,
        "seed": recipe["seed"],
        "sample": {name: recipe["sample"][name] for name in AnswerConfig.model_fields},
        "evaluate": recipe["evaluate"],
        "budget": recipe["budget"],
    }


def _subject(session: Session, project_id: str, field: str, id_: str) -> _Subject:
    with within(field):
        if id_.startswith(f"{Kind.JUDGE}_"):
            judge = judges.get(session, project_id, id_)
            if not isinstance(judges.spec_of(judge), RemoteJudge):
                raise NotAnswering(
                    f"judge {judge.name!r} is of kind {judge.kind!r} and answers no prompt: name one of kind openai or "
                    "anthropic, whose endpoint does, or a model"
                )
            return _Subject(id_, None)
        if id_.startswith(f"{Kind.CHECKPOINT}_"):
            checkpoint = checkpoints.get(session, project_id, id_)
            if checkpoint.kind is CheckpointKind.REWARD_MODEL:
                raise NotAnswering(f"checkpoint {id_!r} is a reward model and answers no prompt: name a policy")
            model = model_rows.of_checkpoint(session, id_)
        else:
            model = models.get(session, project_id, id_)
        if not model.architecture.endswith("ForCausalLM"):
            raise NotAnswering(f"model {model.name!r} is a {model.architecture} and answers no prompt: name another")
        return _Subject(model.id, model)


def _require_answerable(session: Session, prompt_set: PromptSet, *subjects: _Subject) -> None:
    if all(subject.model for subject in subjects) or not run_parts.has_tools(session, prompt_set.id):
        return
    raise PromptsNotAnswerable(
        f"held-out prompts of {prompt_set.id!r} bring tools or tool turns, which are not sent to an endpoint: name a "
        "model, or a prompt set without them",
        field="prompt_set",
    )


def _require_no_candidate(request: MeasureIn) -> None:
    if (one := request.evaluate.candidate) is not None:
        raise SweepRefused(
            f"evaluate.candidate is {one}, and nothing is swept here: name that candidate's checkpoint as `measured`",
            field="evaluate.candidate",
        )


def _require_tasks_have_weights(request: MeasureIn, *subjects: _Subject) -> None:
    if request.evaluate.tasks and not all(subject.model for subject in subjects):
        raise NotAnswering(
            "capability tasks read log-likelihoods, which an endpoint does not give: leave evaluate.tasks out, or name "
            "models",
            field="evaluate.tasks",
        )


def _require_endpoints_priced(session: Session, recipe: Recipe, prices: PriceTable) -> None:
    measure = recipe.measure
    if recipe.budget.judge_usd is None or measure is None:
        return
    for field, id_ in (("measured", measure.measured), ("baseline", measure.baseline)):
        if not id_.startswith(f"{Kind.JUDGE}_"):
            continue
        judge = session.get_one(Judge, id_)
        spec = judges.spec_of(judge)
        if isinstance(spec, RemoteJudge) and tariff_of(spec, prices) is None:
            raise NotAnswering(unpriced(judge.name, spec), field=field)


def _require_independence(session: Session, plan: Plan, *, allow_same_family: bool) -> None:
    judge = plan.evaluation_judge
    assert judge is not None  # noqa: S101  the request names one
    subjects = taught_or_asked(session, plan.recipe.measure)
    taught = with_teachers(session, [one for subject in subjects for one in asked_of(session, subject)])
    measuring = with_teachers(session, asked_of(session, judge))
    if is_circular(taught, measuring, plan.rubric, weights=weights_of(session, *taught, *measuring)):
        raise CircularEvaluation(
            f"judge {judge.name!r} taught what is measured, or is it: name another one, or set "
            "allow_circular_evaluation",
            field="judge",
        )
    if not allow_same_family:
        require_other_family(taught, measuring, names="what taught or is measured", field="judge")
