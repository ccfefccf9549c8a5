"""What must hold between the parts of a run and its recipe before anything is spent on it.

Each rule raises InvalidInput naming the field, the value and the remedy.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from app.db.models import Checkpoint, Judge, Model, PromptSet, RubricRevision, Split
from app.errors import InvalidInput
from app.repositories import answer_sets, checkpoints, models, run_parts
from app.repositories.run_inputs import asked_ids
from app.rlaif.architectures import is_encoder, usable_positions
from app.rlaif.judges import (
    AnthropicJudge,
    CascadeJudge,
    ChecksJudge,
    JudgeSpec,
    LocalJudge,
    OpenAIJudge,
    PanelJudge,
    ReplayJudge,
    RewardModelJudge,
)
from app.rlaif.modes import Mode, modes_of
from app.rlaif.online_policy import OnlinePolicyConfig
from app.rlaif.prices import PriceTable, tariff_of, unpriced
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.rubric import Rubric
from app.rlaif.sweep import candidates
from app.services import gates, people_rules
from app.services.evaluator_rules import rating_judges, require_evaluators
from app.services.task_rules import require_tasks
from app.services.warm_start_rules import critic_of, require_teachable
from app.storage import ArtifactStore

_SPEC: TypeAdapter[JudgeSpec] = TypeAdapter(JudgeSpec)


class RunRefused(InvalidInput):
    """Raised when the parts of a run do not fit together or do not fit its recipe."""


class CircularEvaluation(InvalidInput):
    """Raised when the training judge would also measure the result, and the client has not allowed it."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a run is made of."""

    recipe: Recipe
    rubric: RubricRevision | None
    prompt_set: PromptSet
    base_model: Model | None
    judge: Judge | None
    evaluation_judge: Judge | None

    @property
    def judges(self) -> bool:
        return StageKind.JUDGE in self.recipe.stages()

    @property
    def teaches(self) -> bool:
        """Whether its judge has a say in what is trained: by verdicts, or by rewards of the policy's own answers."""
        return self.judges or self.recipe.rewards_by_judge()

    @property
    def evaluates(self) -> bool:
        return StageKind.EVALUATE in self.recipe.stages()


def require_sound(session: Session, store: ArtifactStore | None, plan: Plan, *, allow_circular: bool) -> None:
    """Without `store` the base model's files are not looked into.

    Raises RunRefused, PeopleRefused, WarmStartRefused, CircularEvaluation.
    """
    _require_judges(plan)
    _require_mode(session, plan)
    _require_rubric(session, plan)
    _require_prompts(plan)
    _require_imports(session, plan)
    _require_texts(session, plan)
    _require_writer(plan)
    backbone = _backbone(session, plan)
    if store is not None:
        for one in candidates(plan.recipe):
            _require_room(store, replace(plan, recipe=one), backbone)
    _require_rewards(plan)
    require_tasks(session, plan.prompt_set.project_id, plan.recipe)
    require_evaluators(session, plan.prompt_set.project_id, plan.recipe, evaluation_judge=plan.evaluation_judge)
    _require_looks(plan)
    _require_people(session, plan)
    require_teachable(session, plan.recipe, prompt_set=plan.prompt_set, rubric=plan.rubric)
    if not allow_circular:
        _require_independence(session, plan)


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


def is_circular(
    labelling: Iterable[Judge], measuring: Iterable[Judge], rubric: RubricRevision | None, *, weights: Mapping[str, str]
) -> bool:
    """Whether any instrument would both label and measure, under whatever ids and however it is operated.

    Both are those who are asked: the members of a panel, not the panel. `weights` is `weights_of` all of them.
    """
    labels = {_instrument(judge, rubric, weights) for judge in labelling}
    return any(_instrument(judge, rubric, weights) in labels for judge in measuring)


def asked_of(session: Session, judge: Judge) -> list[Judge]:
    """Who is asked: the judge itself, or those that a panel or cascade is made of."""
    return [session.get_one(Judge, id_) for id_ in asked_ids(session, judge.id)]


def weights_of(session: Session, *judges: Judge) -> dict[str, str]:
    """The digests of the models that judges run, and of the answers that they replay, by the ids of these."""
    run = models.digests(session, [judge.model_id for judge in judges if judge.model_id is not None])
    trained = checkpoints.digests(session, [judge.checkpoint_id for judge in judges if judge.checkpoint_id is not None])
    replayed = [judge.answer_set_id for judge in judges if judge.answer_set_id is not None]
    return run | trained | answer_sets.digests(session, replayed)


def with_teachers(session: Session, judges: Iterable[Judge]) -> list[Judge]:
    """The judges, and of each trained reward model those whose verdicts it was trained on: it repeats their taste."""
    found = list(judges)
    for judge in tuple(found):
        if judge.checkpoint_id is not None:
            taught_by = session.get_one(Checkpoint, judge.checkpoint_id).lineage["judges"]
            found += [session.get_one(Judge, id_) for id_ in taught_by]
    return found


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
            if one.kind == "checks" and not _checks(one, plan.rubric):
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


def _require_writer(plan: Plan) -> None:
    if plan.base_model is not None and is_encoder(plan.base_model.architecture):
        raise RunRefused(
            f"model {plan.base_model.name!r} is an encoder ({plan.base_model.architecture}), which reads text and "
            "writes none: name a causal model, and this one as recipe.reward_model.backbone",
            field="base_model",
        )


def _backbone(session: Session, plan: Plan) -> Model | None:
    """What the reward model starts from; None where that is the policy's own start."""
    id_ = plan.recipe.reward_model.backbone
    if id_ is None or StageKind.REWARD_MODEL not in plan.recipe.stages():
        return None
    if (model := models.get(session, plan.prompt_set.project_id, id_)) is None:
        raise RunRefused(
            f"model {id_!r} does not exist in this project: register it, or leave recipe.reward_model.backbone out",
            field="recipe.reward_model.backbone",
        )
    return model


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


def _require_room(store: ArtifactStore, plan: Plan, backbone: Model | None) -> None:
    if plan.base_model is None:
        return
    stages = plan.recipe.stages()
    limits = [
        (f"recipe.{kind.value}.max_length", getattr(plan.recipe, kind.value).max_length, reader)
        for kind, reader in (
            (StageKind.WARM_START, plan.base_model),
            (StageKind.PREFER, plan.base_model),
            (StageKind.REWARD_MODEL, backbone or plan.base_model),
            (StageKind.POLICY, plan.base_model),
        )
        if kind in stages
    ]
    limits.append(("recipe.sample.max_new_tokens", plan.recipe.sample.max_new_tokens, plan.base_model))
    windows = {model.id: _context_window(store, model) for model in (plan.base_model, backbone) if model is not None}
    for field, tokens, model in limits:
        if (window := windows[model.id]) is not None and tokens > window:
            raise RunRefused(
                f"{field} is {tokens}, and model {model.name!r} reads at most {window} tokens: lower it", field=field
            )


def _context_window(store: ArtifactStore, model: Model) -> int | None:
    with store.open(model.storage_key, "config.json") as file:
        config: dict[str, Any] = json.load(file)
    stated = config.get("max_position_embeddings", config.get("n_positions"))
    if not isinstance(stated, int):
        return None
    return usable_positions(str(config.get("model_type")), stated, padding_id=config.get("pad_token_id"))


def _require_independence(session: Session, plan: Plan) -> None:
    critic = critic_of(session, plan.recipe, project_id=plan.prompt_set.project_id)
    teaching = [one for one in (plan.judge if plan.teaches else None, critic) if one is not None]
    measuring = plan.evaluation_judge
    if not (teaching and plan.evaluates and measuring):
        return
    asked = with_teachers(session, [each for one in teaching for each in asked_of(session, one)])
    asked_later = with_teachers(session, asked_of(session, measuring))
    if not is_circular(asked, asked_later, plan.rubric, weights=weights_of(session, *asked, *asked_later)):
        return
    names = " or ".join(repr(one.name) for one in teaching)
    raise CircularEvaluation(
        f"judge {names} labels the training data, criticises it or rewards the policy, and evaluation judge "
        f"{measuring.name!r} is the same instrument or has one in common with it, which would reward its own taste: "
        "name another one, or set allow_circular_evaluation",
        field="evaluation_judge",
    )


def _instrument(judge: Judge, rubric: RubricRevision | None, weights: Mapping[str, str]) -> tuple[object, ...]:
    """What makes two judges the same, whatever they are called and however they are reached."""
    spec = _SPEC.validate_python(judge.spec)
    match spec:
        case OpenAIJudge() | AnthropicJudge():  # one model may be reached by either API
            address = urlsplit(spec.base_url)
            return ("remote", (address.hostname or "").rstrip("."), address.path, spec.model)
        case LocalJudge():
            return (spec.kind, weights[spec.model])
        case RewardModelJudge():
            return (spec.kind, weights[spec.checkpoint])
        case ReplayJudge():
            return (spec.kind, weights[spec.answers])
        case ChecksJudge():
            return (spec.kind, *_checks(judge, rubric))
        case PanelJudge() | CascadeJudge():
            raise ValueError(f"judge {judge.id!r} is a {spec.kind}: compare those whom it asks")


def _checks(judge: Judge, revision: RubricRevision | None) -> tuple[str, ...]:
    """The criteria with a check that a checks judge goes by, as canonical JSON."""
    spec = _SPEC.validate_python(judge.spec)
    own = spec.criteria if isinstance(spec, ChecksJudge) else ()
    criteria = own or (Rubric.model_validate(revision.content).criteria if revision else ())
    return tuple(sorted(criterion.model_dump_json() for criterion in criteria if criterion.check is not None))
