"""Scoring: a trained reward model's rewards for texts at hand, by a run that does nothing else."""

from __future__ import annotations

from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import CheckpointKind, PromptSet, RunKind, Split
from app.db.session import WriteSession
from app.errors import Conflict, InvalidInput
from app.repositories import run_parts
from app.repositories.runs import RunRow
from app.rlaif.messages import as_json, as_turns
from app.rlaif.prompt import Prompt
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.scoring import ScoreConfig
from app.rlaif.sections import SampleConfig
from app.schemas.scoring import ConversationIn, ScoringIn
from app.services import checkpoints, engine, prompt_sets, runs
from app.services.run_parts import within
from app.services.run_plan import Plan
from app.services.run_rows import insert_run

COHORT = "scoring"


class NotScoring(Conflict):
    """Raised when a checkpoint is no reward model."""


class NothingToScore(InvalidInput):
    """Raised when a prompt set has no candidate, or one that a reward model cannot read."""


class ConversationRefused(InvalidInput):
    """Raised when a conversation is no prompt with an answer; the field names it, the message says what is wrong."""


def create(session: WriteSession, project_id: str, checkpoint_id: str, request: ScoringIn) -> RunRow:
    """The queued run that scores. Raises NotFound, NotScoring, NothingToScore, ConversationRefused."""
    checkpoint = checkpoints.get(session, project_id, checkpoint_id)
    if checkpoint.kind is not CheckpointKind.REWARD_MODEL:
        raise NotScoring(
            f"checkpoint {checkpoint_id!r} is a {checkpoint.kind.value} and gives no rewards: name a reward model"
        )
    recipe = Recipe(
        stop_after=StageKind.SCORE,
        sample=SampleConfig(source="prompt_set"),
        score=ScoreConfig(checkpoint=checkpoint_id, batch_size=request.batch_size),
    )
    plan = Plan(recipe, None, _prompt_set(session, project_id, request), None, None, None)
    run = insert_run(session, project_id, request.name, plan, kind=RunKind.SCORING, forked_from_id=None)
    engine.start_run(session, run)
    return runs.get(session, project_id, run.id)


def _prompt_set(session: WriteSession, project_id: str, request: ScoringIn) -> PromptSet:
    if request.prompt_set is None:
        prompts = [_prompt(place, each) for place, each in enumerate(request.conversations or ())]
        return prompt_sets.create(
            session, project_id, name=new_id(Kind.PROMPT_SET), prompts=prompts, held_out=0.0, listed=False
        )
    with within("prompt_set"):
        found = prompt_sets.get(session, project_id, request.prompt_set)
    _require_texts(session, found.id)
    return found


def _require_texts(session: Session, prompt_set_id: str) -> None:
    """Raises NothingToScore."""
    if not run_parts.has_candidates(session, prompt_set_id, split=None, least=1):
        raise NothingToScore(
            f"no prompt of {prompt_set_id!r} has a candidate: add `candidates`, the answers to score",
            field="prompt_set",
        )
    if run_parts.has_trajectories(session, prompt_set_id, split=None):
        raise NothingToScore(
            f"prompts of {prompt_set_id!r} bring trajectories, and a reward model reads texts alone: upload a set "
            "whose candidates are texts",
            field="prompt_set",
        )


def _prompt(place: int, conversation: ConversationIn) -> Prompt:
    """Raises ConversationRefused."""
    asked = conversation.prompt
    messages = [{"role": "user", "content": asked}] if isinstance(asked, str) else as_json(as_turns(asked))
    content = {
        "id": str(place) if conversation.id is None else conversation.id,
        "messages": messages,
        "tools": list(conversation.tools or ()) or None,
        "cohort": COHORT,
        "split": Split.TRAIN.value,
        "candidates": [conversation.completion],
    }
    try:
        return Prompt.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ConversationRefused(
            f"conversation {place} cannot be scored: {where}: {first['msg']}", field=f"conversations[{place}].prompt"
        ) from error
