"""What must hold between the parts of a run and its recipe before anything is spent on it.

Each rule raises InvalidInput naming the field, the value and the remedy.
"""

from __future__ import annotations

from dataclasses import replace

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from app.db.models import Judge, Split
from app.repositories import run_parts
from app.repositories.run_inputs import asked_ids
from app.rlaif.judges import (
    JudgeSpec,
)
from app.rlaif.modes import Mode, modes_of
from app.rlaif.online_policy import OnlinePolicyConfig
from app.rlaif.prices import PriceTable, tariff_of, unpriced
from app.rlaif.recipe import StageKind
from app.rlaif.rubric import Rubric
from app.rlaif.sweep import candidates
from app.services import gates, people_rules
from app.services.evaluator_rules import rating_judges, require_evaluators
from app.services.independence import asked_of, checks_of, require_independence
from app.services.model_rules import backbone_of, require_room, require_writer
from app.services.run_plan import Plan, RunRefused
from app.services.task_rules import require_tasks
from app.services.warm_start_rules import critic_of, require_teachable
from app.storage import ArtifactStore

_SPEC: TypeAdapter[JudgeSpec] = TypeAdapter(JudgeSpec)


def require_sound(
    session: Session,
    store: ArtifactStore | None,
    plan: Plan,
    *,
    allow_circular: bool,
    allow_same_family: bool,
) -> None:
    """Without `store` the base model's files are not looked into.

    Raises RunRefused, PeopleRefused, WarmStartRefused, CircularEvaluation, SameFamily.
    """
    _require_judges(plan)
    _require_mode(session, plan)
    _require_rubric(session, plan)
    _require_prompts(plan)
    _require_imports(session, plan)
    _require_texts(session, plan)
    require_writer(plan)
    backbone = backbone_of(session, plan)
    if store is not None:
        for one in candidates(plan.recipe):
            require_room(store, replace(plan, recipe=one), backbone)
    _require_rewards(plan)
    require_tasks(session, plan.prompt_set.project_id, plan.recipe)
    require_evaluators(session, plan.prompt_set.project_id, plan.recipe, evaluation_judge=plan.evaluation_judge)
    _require_looks(plan)
    _require_people(session, plan)
    require_teachable(session, plan.recipe, prompt_set=plan.prompt_set, rubric=plan.rubric)
    if not allow_circular:
        require_independence(session, plan, allow_same_family=allow_same_family)


def require_priced(session: Session, plan: Plan, prices: PriceTable) -> None:
    """A limit in USD needs a price to count by. Raises RunRefused."""
    if plan.recipe.budget.judge_usd is None:
        return
    asked = {"judge": plan.judge if plan.teaches else None}
    asked["evaluation_judge"] = plan.evaluation_judge if plan.evaluates else None
    if plan.evaluates:
        asked |= rating_judges(session, plan.prompt_set.project_id, plan.recipe)
    asked["recipe.warm_start.critic"] = critic_of(session, plan.recipe, project_id=plan.prompt_set.project_id)
    for field, judge in asked.items():
        for id_ in asked_ids(session, judge.id if judge else None):
            member = session.get_one(Judge, id_)
            spec = _SPEC.validate_python(member.spec)
            if tariff_of(spec, prices) is None:
                raise RunRefused(unpriced(member.name, spec), field=field)


def require_measurable(session: Session, plan: Plan) -> None:
    """What must hold of a run that only asks its judge about candidates at hand. Raises RunRefused."""
    _require_judges(plan)
    _require_mode(session, plan)
    _require_rubric(session, plan)
    if not run_parts.has_candidates(session, plan.prompt_set.id, split=None):
        raise RunRefused(
            f"no prompt of {plan.prompt_set.id!r} has two candidates to compare: add `candidates` to the prompts",
            field="prompt_set",
        )


def _require_judges(plan: Plan) -> None:
    if plan.judges and plan.judge is None:
        raise RunRefused(
            "the recipe judges: name a judge, or import preferences with recipe.prefer.source 'prompt_set'",
            field="judge",
        )
    if plan.evaluates and plan.evaluation_judge is None:
        raise RunRefused(
            "the recipe evaluates: name an evaluation_judge, one that does not label the training data, or set "
            "recipe.stop_after to 'policy'",
            field="evaluation_judge",
        )


def _require_mode(session: Session, plan: Plan) -> None:
    mode = plan.recipe.judge.mode
    for judge in asked_of(session, plan.judge) if plan.judges and plan.judge else ():
        if mode not in (known := modes_of(judge.kind)):
            offered = ", ".join(sorted(known))
            raise RunRefused(
                f"judge {judge.name!r} is of kind {judge.kind!r}, which cannot be asked {mode.value!r}: set "
                f"recipe.judge.mode to one of {offered}, or name another judge",
                field="recipe.judge.mode",
            )


def _require_rubric(session: Session, plan: Plan) -> None:
    asked = {"judge": plan.judge if plan.judges else None}
    asked["evaluation_judge"] = plan.evaluation_judge if plan.evaluates else None
    if any(asked.values()) and plan.rubric is None:
        raise RunRefused("a judge needs a rubric to judge by: name one or send one inline", field="rubric")
    for field, judge in asked.items():
        for one in () if judge is None else asked_of(session, judge):
            if one.kind == "checks" and not checks_of(one, plan.rubric):
                raise RunRefused(
                    f"judge {one.name!r} runs checks, and no criterion of the rubric has one: add a `check` to a "
                    "criterion, or give the judge criteria of its own",
                    field=field,
                )
    _require_principle(plan)


def _require_principle(plan: Plan) -> None:
    number = plan.recipe.judge.principle
    known = 0 if plan.rubric is None else len(Rubric.model_validate(plan.rubric.content).principles)
    if plan.judges and number is not None and number > known:
        raise RunRefused(
            f"recipe.judge.principle is {number}, and the rubric has {known} principles: name one of them, counted "
            "from 1, or leave it out",
            field="recipe.judge.principle",
        )


def _require_prompts(plan: Plan) -> None:
    prompt_set = plan.prompt_set
    if prompt_set.train_count == 0 and plan.recipe.measure is None:
        raise RunRefused(f"prompt set {prompt_set.id!r} has no prompts of split 'train'", field="prompt_set")
    if plan.evaluates and prompt_set.held_out_count == 0:
        raise RunRefused(
            f"prompt set {prompt_set.id!r} has no prompts of split 'held_out' to evaluate on: add some, or set "
            "recipe.stop_after to 'policy'",
            field="prompt_set",
        )
    for cohort in plan.recipe.evaluate.gates.maximum_cohort_regression if plan.evaluates else ():
        if cohort not in prompt_set.cohorts:
            raise RunRefused(
                f"a gate asks for cohort {cohort!r}, and the cohorts of prompt set {prompt_set.id!r} are "
                f"{', '.join(sorted(prompt_set.cohorts))}: name one of these, or leave the gate out",
                field="recipe.evaluate.gates.maximum_cohort_regression",
            )


def _require_imports(session: Session, plan: Plan) -> None:
    source, id_ = plan.recipe.sample.source, plan.prompt_set.id
    if source == "prompt_set" and not run_parts.has_candidates(session, id_, split=Split.TRAIN):
        raise RunRefused(
            f"recipe.sample.source is 'prompt_set', and no train prompt of {id_!r} has two candidates: add "
            "`candidates` to the prompts, or use source 'model'",
            field="recipe.sample.source",
        )
    if plan.recipe.prefer.source == "prompt_set" and not run_parts.has_preferences(session, id_):
        raise RunRefused(
            f"recipe.prefer.source is 'prompt_set', and no train prompt of {id_!r} has preferences: add "
            "`preferences` to the prompts, or use source 'verdicts'",
            field="recipe.prefer.source",
        )


def _require_people(session: Session, plan: Plan) -> None:
    people_rules.require_people(
        session,
        plan.prompt_set.project_id,
        plan.recipe,
        rubric=plan.rubric,
        calibration_ids=gates.calibrations_of(plan.recipe, plan.judge, plan.evaluation_judge),
    )


def _require_texts(session: Session, plan: Plan) -> None:
    trained = {StageKind.REWARD_MODEL, StageKind.POLICY} & set(plan.recipe.stages())
    if not trained or plan.recipe.sample.source != "prompt_set":
        return
    if run_parts.has_trajectories(session, plan.prompt_set.id, split=Split.TRAIN):
        raise RunRefused(
            f"train prompts of {plan.prompt_set.id!r} bring trajectories, which are judged and not trained on: set "
            "recipe.stop_after to 'prefer' and export the preferences, or bring candidates that are texts",
            field="recipe.stop_after",
        )


def _require_rewards(plan: Plan) -> None:
    """A policy that is trained on its own answers needs somebody who rates one answer by itself."""
    if not plan.recipe.rewards_by_judge():
        return
    if plan.judge is None or plan.rubric is None:
        raise RunRefused(
            "policy.reward.judge has a weight: name the judge and the rubric that reward the policy's answers",
            field="recipe.policy.reward.judge",
        )
    if plan.judge.kind != "checks" and Mode.POINTWISE not in modes_of(plan.judge.kind):
        raise RunRefused(
            f"judge {plan.judge.name!r} of kind {plan.judge.kind!r} rates no single answer: set policy.reward.judge "
            "to 0, or name a judge of kind checks, openai, anthropic or local",
            field="recipe.policy.reward.judge",
        )


def _require_looks(plan: Plan) -> None:
    """Who is to look at the policy as it learns must be there, and rate one answer by itself."""
    policies = [one.policy for one in candidates(plan.recipe) if isinstance(one.policy, OnlinePolicyConfig)]
    looks = any(policy.health.judge_every for policy in policies)
    if not looks or StageKind.POLICY not in plan.recipe.stages():
        return
    field, judge = "recipe.policy.health.judge_every", plan.evaluation_judge
    if judge is None or plan.rubric is None or plan.prompt_set.held_out_count == 0:
        raise RunRefused(
            "policy.health.judge_every asks the evaluation judge about held-out prompts as training goes on: name an "
            "evaluation_judge and a rubric and bring prompts of split 'held_out', or set it to 0",
            field=field,
        )
    if judge.kind != "checks" and Mode.POINTWISE not in modes_of(judge.kind):
        raise RunRefused(
            f"evaluation judge {judge.name!r} of kind {judge.kind!r} rates no single answer: set "
            "policy.health.judge_every to 0, or name a judge of kind checks, openai, anthropic or local",
            field=field,
        )
