"""Whether a judge would measure its own taste: which instruments label, reward or criticise, and which one measures."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from app.db.models import Checkpoint, Judge, RubricRevision
from app.errors import InvalidInput
from app.repositories import answer_sets, checkpoints, models
from app.repositories.run_inputs import asked_ids
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
from app.rlaif.rubric import Rubric
from app.services.run_plan import Plan
from app.services.warm_start_rules import critic_of

_SPEC: TypeAdapter[JudgeSpec] = TypeAdapter(JudgeSpec)


class CircularEvaluation(InvalidInput):
    """Raised when the training judge would also measure the result, and the client has not allowed it."""


class SameFamily(InvalidInput):
    """Raised when a judge of the training judge's family would measure the result, and that is not allowed."""


def require_independence(session: Session, plan: Plan, *, allow_same_family: bool) -> None:
    """Raises CircularEvaluation, SameFamily."""
    critic = critic_of(session, plan.recipe, project_id=plan.prompt_set.project_id)
    teaching = [one for one in (plan.judge if plan.teaches else None, critic) if one is not None]
    measuring = plan.evaluation_judge
    if not (teaching and plan.evaluates and measuring):
        return
    asked = with_teachers(session, [each for one in teaching for each in asked_of(session, one)])
    asked_later = with_teachers(session, asked_of(session, measuring))
    names = " or ".join(repr(one.name) for one in teaching)
    if is_circular(asked, asked_later, plan.rubric, weights=weights_of(session, *asked, *asked_later)):
        raise CircularEvaluation(
            f"judge {names} labels the training data, criticises it or rewards the policy, and evaluation judge "
            f"{measuring.name!r} is the same instrument or has one in common with it, which would reward its own "
            "taste: name another one, or set allow_circular_evaluation",
            field="evaluation_judge",
        )
    if not allow_same_family:
        require_other_family(asked, asked_later, names=names, field="evaluation_judge")


def require_other_family(teaching: Iterable[Judge], measuring: Iterable[Judge], *, names: str, field: str) -> None:
    """Judges of one family share their errors: agreeing, they prove little. Raises SameFamily."""
    families = {judge.family for judge in teaching}
    for judge in measuring:
        if judge.family in families:
            raise SameFamily(
                f"judge {judge.name!r} is of family {judge.family!r}, as {names} is in part or whole, and may share "
                "its errors: name a judge of another family, or set allow_same_family",
                field=field,
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
            return (spec.kind, *checks_of(judge, rubric))
        case PanelJudge() | CascadeJudge():
            raise ValueError(f"judge {judge.id!r} is a {spec.kind}: compare those whom it asks")


def checks_of(judge: Judge, revision: RubricRevision | None) -> tuple[str, ...]:
    """The criteria with a check that a checks judge goes by, as canonical JSON."""
    spec = _SPEC.validate_python(judge.spec)
    own = spec.criteria if isinstance(spec, ChecksJudge) else ()
    criteria = own or (Rubric.model_validate(revision.content).criteria if revision else ())
    return tuple(sorted(criterion.model_dump_json() for criterion in criteria if criterion.check is not None))
