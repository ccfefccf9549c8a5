"""What a run was given: its rubric, prompt set, base model and judges, as one value that outlives the session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Judge, Model, PromptSet, RubricRevision, Run
from app.rlaif.judges import JudgeSpec, members_of

_SPEC: TypeAdapter[JudgeSpec] = TypeAdapter(JudgeSpec)


@dataclass(frozen=True, slots=True)
class ModelRow:
    id: str
    storage_key: str
    digest: str
    family: str
    architecture: str
    parameters: int


@dataclass(frozen=True, slots=True)
class JudgeRow:
    """`spec` is an app.rlaif.judges.JudgeSpec; `model` is the one that a local judge runs; `members` are whom a panel
    or cascade asks, in order."""

    id: str
    name: str
    family: str
    spec: dict[str, Any]
    model: ModelRow | None
    members: tuple[JudgeRow, ...] = ()


@dataclass(frozen=True, slots=True)
class RubricRow:
    revision_id: str
    content: dict[str, Any]
    content_hash: str


@dataclass(frozen=True, slots=True)
class RunInputs:
    prompt_set_id: str
    prompt_set_digest: str
    prompts: int
    base_model: ModelRow | None
    rubric: RubricRow | None
    judge: JudgeRow | None
    evaluation_judge: JudgeRow | None


def run_inputs(session: Session, run_id: str) -> RunInputs:
    run = session.get_one(Run, run_id)
    prompt_set = session.get_one(PromptSet, run.prompt_set_id)
    return RunInputs(
        prompt_set_id=prompt_set.id,
        prompt_set_digest=prompt_set.digest,
        prompts=prompt_set.train_count + prompt_set.held_out_count,
        base_model=None if run.base_model_id is None else model_row(session, run.base_model_id),
        rubric=None if run.rubric_revision_id is None else _rubric(session, run.rubric_revision_id),
        judge=None if run.judge_id is None else judge_row(session, run.judge_id),
        evaluation_judge=None if run.evaluation_judge_id is None else judge_row(session, run.evaluation_judge_id),
    )


def checkpoint_model(session: Session, checkpoint_id: str) -> ModelRow:
    """A checkpoint as the model that others start from."""
    return model_row(session, session.scalars(select(Model.id).where(Model.checkpoint_id == checkpoint_id)).one())


def members(judge: JudgeRow) -> tuple[JudgeRow, ...]:
    """Who is asked: the judge itself, or those that a panel or cascade is made of, in order."""
    return judge.members or (judge,)


def asked_ids(session: Session, judge_id: str | None) -> tuple[str, ...]:
    """The ids of those who are asked in the name of a judge."""
    return () if judge_id is None else tuple(member.id for member in members(judge_row(session, judge_id)))


def training_judge(session: Session, run_id: str) -> JudgeRow | None:
    judge_id = session.get_one(Run, run_id).judge_id
    return None if judge_id is None else judge_row(session, judge_id)


def model_row(session: Session, id_: str) -> ModelRow:
    """A model that is known to exist."""
    model = session.get_one(Model, id_)
    return ModelRow(model.id, model.storage_key, model.digest, model.family, model.architecture, model.parameters)


def _rubric(session: Session, revision_id: str) -> RubricRow:
    revision = session.get_one(RubricRevision, revision_id)
    return RubricRow(revision.id, revision.content, revision.content_hash)


def judge_row(session: Session, id_: str) -> JudgeRow:
    """A judge with whom it asks."""
    judge = session.get_one(Judge, id_)
    model = None if judge.model_id is None else model_row(session, judge.model_id)
    asked = tuple(judge_row(session, member) for member in members_of(_SPEC.validate_python(judge.spec)))
    return JudgeRow(judge.id, judge.name, judge.family, judge.spec, model, asked)
