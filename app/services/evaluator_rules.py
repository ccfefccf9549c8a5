"""What must hold of the evaluators that a recipe names, before anything is spent."""

from __future__ import annotations

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from app.db.models import Judge
from app.errors import InvalidInput, NotFound
from app.rlaif.evaluator import Evaluator, EvaluatorConfig
from app.rlaif.judges import ChecksJudge, JudgeSpec, RewardModelJudge
from app.rlaif.modes import Mode, modes_of
from app.rlaif.recipe import Recipe, StageKind
from app.services import evaluators, judges

_SPEC: TypeAdapter[JudgeSpec] = TypeAdapter(JudgeSpec)


class EvaluatorRefused(InvalidInput):
    """Raised when an evaluator has no rubric, or nobody who can rate an answer by it."""


def require_evaluators(session: Session, project_id: str, recipe: Recipe, *, evaluation_judge: Judge | None) -> None:
    """Raises EvaluatorRefused."""
    if StageKind.EVALUATE not in recipe.stages():
        return
    for place, config in enumerate(recipe.evaluate.evaluators or ()):
        field = f"recipe.evaluate.evaluators[{place}]"
        evaluator = _evaluator(session, project_id, config, field)
        judge = _judge(session, project_id, config, field) if config.judge else evaluation_judge
        if judge is not None:
            require_rating(judge, evaluator, f"{field}.judge", named=config.judge is not None)


def rating_judges(session: Session, project_id: str, recipe: Recipe) -> dict[str, Judge]:
    """The judges that evaluators name beside the evaluation judge, by the field that names them."""
    return {
        f"recipe.evaluate.evaluators[{place}].judge": judges.get(session, project_id, config.judge)
        for place, config in enumerate(recipe.evaluate.evaluators or ())
        if config.judge is not None
    }


def _evaluator(session: Session, project_id: str, config: EvaluatorConfig, field: str) -> Evaluator:
    try:
        return evaluators.resolved(session, project_id, config)
    except NotFound as error:
        known = ", ".join(evaluators.built_in())
        part, remedy = (
            ("name", f"use one of {known}, or add a rubric of your own")
            if config.rubric is None
            else (
                "rubric",
                "name a revision that GET /v1/rubrics/{id}/revisions lists",
            )
        )
        raise EvaluatorRefused(f"{error.detail}: {remedy}", field=f"{field}.{part}") from error


def _judge(session: Session, project_id: str, config: EvaluatorConfig, field: str) -> Judge:
    try:
        return judges.get(session, project_id, config.judge or "")
    except NotFound as error:
        raise EvaluatorRefused(f"{error.detail}: name one that GET /v1/judges lists", field=f"{field}.judge") from error


def require_rating(judge: Judge, evaluator: Evaluator, field: str, *, named: bool) -> None:
    """`named` says that the judge was chosen for this evaluator. Raises EvaluatorRefused."""
    spec = _SPEC.validate_python(judge.spec)
    trained = isinstance(spec, RewardModelJudge)
    if not named and (trained or (isinstance(spec, ChecksJudge) and spec.criteria)):
        raise EvaluatorRefused(
            f"evaluation judge {judge.name!r} goes by what it has of its own and would not read evaluator "
            f"{evaluator.name!r}: name the evaluator's judge, this one too where it is the classifier you mean",
            field=field,
        )
    if isinstance(spec, ChecksJudge):
        criteria = spec.criteria or evaluator.rubric.criteria
        if all(criterion.check is None for criterion in criteria):
            raise EvaluatorRefused(
                f"judge {judge.name!r} runs checks, and evaluator {evaluator.name!r} has none: name a judge that "
                "reads, or give the judge criteria of its own",
                field=field,
            )
    elif not trained and Mode.POINTWISE not in modes_of(judge.kind):
        raise EvaluatorRefused(
            f"judge {judge.name!r} of kind {judge.kind!r} rates no single answer: name one of kind checks, "
            "reward_model, openai, anthropic or local as the evaluator's judge",
            field=field,
        )
