"""Scores of a reward model as clients ask for them and see them."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints, model_validator

from app.db.models import CompletionSource, Split
from app.rlaif.messages import Chat, Spoken
from app.rlaif.prompt import ExternalId
from app.schemas.names import ResourceName

MOST_CONVERSATIONS = 1000
EXAMPLE_SCORING: dict[str, JsonValue] = {
    "name": "two answers",
    "conversations": [
        {"id": "polite", "prompt": "What is salt?", "completion": "Salt is a mineral. Happy to help!"},
        {"id": "curt", "prompt": "What is salt?", "completion": "No idea."},
    ],
}


class ConversationIn(BaseModel):
    """A prompt and the answer to it that is to be scored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: ExternalId | None = Field(None, description="Your own id, unique in the request; its place if absent")
    prompt: Chat = Field(description="The user's text, or the chat messages so far")
    completion: Spoken = Field(description="The answer: a text, since a reward model reads no trajectories")
    tools: Annotated[tuple[dict[str, Any], ...], Field(max_length=128)] | None = Field(
        None, description="Function definitions that were at hand, in the OpenAI format"
    )


class ScoringIn(BaseModel):
    """What is to be scored: conversations that come along, or the candidates of a prompt set."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra={"examples": [EXAMPLE_SCORING]})

    name: ResourceName = Field("scores", description="Of the run that scores")
    conversations: Annotated[tuple[ConversationIn, ...], Field(min_length=1, max_length=MOST_CONVERSATIONS)] | None = (
        Field(None, description=f"At most {MOST_CONVERSATIONS}; upload more as a prompt set with candidates")
    )
    prompt_set: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = Field(
        None, description="Id of a prompt set whose candidates, of both splits, are scored"
    )
    batch_size: Annotated[int, Field(strict=True, ge=1, le=4096)] = Field(
        32, description="Conversations in one forward pass"
    )

    @model_validator(mode="after")
    def _one_of_the_two(self) -> Self:
        if (self.conversations is None) == (self.prompt_set is None):
            raise ValueError("send either conversations or prompt_set: exactly one of the two is scored")
        return self

    @model_validator(mode="after")
    def _ids_are_unique(self) -> Self:
        """Also with the places of those that have no id."""
        ids = [str(place) if each.id is None else each.id for place, each in enumerate(self.conversations or ())]
        if twice := next((id_ for id_ in ids if ids.count(id_) > 1), None):
            raise ValueError(
                f"conversations: the id {twice!r} is there twice, or is another's place: give each its own"
            )
        return self


class RewardOut(BaseModel):
    """What a reward model gave one completion."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    completion_id: str = Field(examples=["completion_01m7xk5mgzeyva4mageqj2tqtk"])
    prompt_id: str = Field(examples=["prompt_01m7xk5mgzeyva4mageqj2tqtk"])
    external_id: str = Field(description="The prompt's or conversation's own id", examples=["polite"])
    split: Split
    source: CompletionSource
    position: int = Field(description="Counts from 0 within prompt and source", examples=[0])
    reward: float | None = Field(
        description="Null where none was asked for, or where prompt and answer exceed the model's window",
        examples=[0.71],
    )
    reward_spread: float | None = Field(
        description="Standard deviation of an ensemble's members, where one was asked to score", examples=[0.08]
    )
