"""The parts of a new run: each is looked up by id, or made from the request in the run's own transaction.

A new part whose name is taken is the existing one when the content is equal, so the same request can be sent again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.config import Settings
from app.db.ids import Kind
from app.db.models import Judge, Model, PromptSet, RubricRevision
from app.db.session import WriteSession
from app.errors import Conflict, NotFound, ServiceError
from app.repositories import rubrics as rubric_rows
from app.repositories import run_parts
from app.repositories.pages import Slice
from app.schemas.judge import JudgeIn
from app.schemas.model import ModelIn
from app.schemas.prompt_set import PromptSetIn
from app.schemas.rubric import RubricIn
from app.schemas.run import RunIn
from app.services import judges, models, prompt_sets, rubrics
from app.services.models import PublishedModel
from app.storage import ArtifactStore

_ONE = 1


class ContentDiffers(Conflict):
    """Raised when a part in the request has the name of an existing one and another content."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What a run is made of; None where the request left it out."""

    rubric: RubricRevision | None
    prompt_set: PromptSet | None
    base_model: Model | None
    judge: Judge | None
    evaluation_judge: Judge | None


def prepare(request: RunIn, settings: Settings, store: ArtifactStore | None) -> PublishedModel | None:
    """What takes long, before any database connection is held: judges' addresses resolved, a new base model published.

    Without `store` the model is only validated. Raises JudgeAddressRefused, ModelSourceUnknown, ModelRefused.
    """
    for field in ("judge", "evaluation_judge"):
        if isinstance(part := getattr(request, field), JudgeIn):
            with within(field):
                judges.require_address(part.spec, settings)
    if not isinstance(request.base_model, ModelIn):
        return None
    with within("base_model"):
        return models.publish_local(store, settings.models_dir, request.base_model.directory_name())


def resolve(session: WriteSession, project_id: str, request: RunIn, published: PublishedModel | None) -> Parts:
    """Raises NotFound, ContentDiffers, and what making a part raises; the field names the part."""
    with within("rubric"):
        rubric = _rubric(session, project_id, request.rubric)
    with within("prompt_set"):
        prompt_set = _prompt_set(session, project_id, request.prompt_set)
    with within("base_model"):
        base_model = _base_model(session, project_id, request.base_model, published)
    with within("judge"):
        judge = _judge(session, project_id, request.judge)
    with within("evaluation_judge"):
        evaluation_judge = _judge(session, project_id, request.evaluation_judge)
    return Parts(rubric, prompt_set, base_model, judge, evaluation_judge)


@contextmanager
def within(field: str) -> Iterator[None]:
    """An error inside names its field from the request's top."""
    try:
        yield
    except ServiceError as error:
        error.field = f"{field}.{error.field}" if error.field else field
        raise


def _rubric(session: WriteSession, project_id: str, part: str | RubricIn | None) -> RubricRevision | None:
    if part is None:
        return None
    if isinstance(part, RubricIn):
        return _new_rubric(session, project_id, part)
    return named_revision(session, project_id, part)


def named_revision(session: Session, project_id: str, id_: str) -> RubricRevision:
    """The revision of this id, or the newest one of the rubric of this id. Raises NotFound."""
    if id_.startswith(f"{Kind.RUBRIC}_"):
        return rubrics.get(session, project_id, id_).revision
    if (revision := run_parts.revision(session, project_id, id_)) is None:
        raise NotFound.of("rubric or revision", id_)
    return revision


def _new_rubric(session: WriteSession, project_id: str, part: RubricIn) -> RubricRevision:
    taken = rubrics.page(session, project_id, Slice(_ONE), name=part.name).rows
    if not taken:
        return rubrics.create(session, project_id, name=part.name, content=part.content()).revision
    rubric = taken[0].rubric
    same = rubric_rows.same_content(session, rubric.id, part.content().content_hash())
    if same is None:
        raise ContentDiffers(
            f"rubric {part.name!r} exists ({rubric.id}) and none of its revisions has this content: choose another "
            f"name, or POST /v1/rubrics/{rubric.id}/revisions and name that revision",
            field="name",
        )
    return same


def _prompt_set(session: WriteSession, project_id: str, part: str | PromptSetIn | None) -> PromptSet | None:
    if part is None:
        return None
    if isinstance(part, str):
        return prompt_sets.get(session, project_id, part)
    taken = prompt_sets.page(session, project_id, Slice(_ONE), name=part.name).rows
    if not taken:
        return prompt_sets.create(session, project_id, name=part.name, prompts=part.prompts, held_out=part.held_out)
    if taken[0].digest != prompt_sets.digest(part.prompts, held_out=part.held_out):
        raise _differs("prompt set", part.name, taken[0].id)
    return taken[0]


def _base_model(
    session: WriteSession, project_id: str, part: str | ModelIn | None, published: PublishedModel | None
) -> Model | None:
    if isinstance(part, str):
        return models.get(session, project_id, part)
    if part is None or published is None:
        return None
    taken = models.page(session, project_id, Slice(_ONE), name=part.name).rows
    if not taken:
        return models.register(session, project_id, name=part.name, model=published)
    if taken[0].digest != published.digest:
        raise _differs("model", part.name, taken[0].id)
    return taken[0]


def _judge(session: WriteSession, project_id: str, part: str | JudgeIn | None) -> Judge | None:
    if part is None:
        return None
    if isinstance(part, str):
        return judges.get(session, project_id, part)
    taken = judges.page(session, project_id, Slice(_ONE), name=part.name).rows
    if not taken:
        return judges.create(session, project_id, name=part.name, spec=part.spec)
    if judges.spec_of(taken[0]) != part.spec:
        raise _differs("judge", part.name, taken[0].id)
    return taken[0]


def _differs(kind: str, name: str, id_: str) -> ContentDiffers:
    return ContentDiffers(
        f"{kind} {name!r} exists ({id_}) with another content: choose another name, or name the existing one by its id",
        field="name",
    )
