"""Reads the prompts that a stage works on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from app.db.models import Prompt, Split
from app.repositories.units import among


@dataclass(frozen=True, slots=True)
class PromptRow:
    """A prompt as stored; candidates and all that is said of them are what its author brought."""

    id: str
    position: int
    external_id: str
    split: Split
    cohort: str
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None
    reference: str | None
    criteria: list[dict[str, Any]]
    candidates: list[str | list[dict[str, Any]]]
    preferences: list[dict[str, Any]]
    authors: list[str | None]
    annotations: list[dict[str, Any]]
    outcomes: list[bool | None]


# SQLAlchemy types a statement by its columns; here a row is read by their order.
_PROMPTS: Select[*tuple[Any, ...]] = select(
    Prompt.id,
    Prompt.position,
    Prompt.external_id,
    Prompt.split,
    Prompt.cohort,
    Prompt.messages,
    Prompt.tools,
    Prompt.reference,
    Prompt.criteria,
    Prompt.candidates,
    Prompt.preferences,
    Prompt.authors,
    Prompt.annotations,
    Prompt.outcomes,
)


def prompts_in_range(session: Session, prompt_set_id: str, *, split: Split, offset: int, limit: int) -> list[PromptRow]:
    """A shard's range of a split's prompts, in the order of the set."""
    rows = session.execute(_of_split(prompt_set_id, split).offset(offset).limit(limit))
    return [PromptRow(*row) for row in rows]


def prompts_after(session: Session, prompt_set_id: str, *, split: Split, position: int, limit: int) -> list[PromptRow]:
    """The next of a split's prompts whose position in the set is above `position`."""
    rows = session.execute(_of_split(prompt_set_id, split).where(Prompt.position > position).limit(limit))
    return [PromptRow(*row) for row in rows]


def prompts_by_id(session: Session, ids: Collection[str]) -> dict[str, PromptRow]:
    rows = session.execute(_PROMPTS.where(among(Prompt.id, ids)))
    return {row.id: PromptRow(*row) for row in rows}


def _of_split(prompt_set_id: str, split: Split) -> Select[*tuple[Any, ...]]:
    query = _PROMPTS.where(Prompt.prompt_set_id == prompt_set_id, Prompt.split == split)
    return query.order_by(Prompt.position)
