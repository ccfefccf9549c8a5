"""Questions about a new run's parts that no other list answers."""

from __future__ import annotations

from sqlalchemy import ColumnElement, cast, func, select, true
from sqlalchemy.dialects.postgresql import JSONPATH
from sqlalchemy.orm import Session

from app.db.models import Prompt, RubricRevision, Split


def revision(session: Session, project_id: str, revision_id: str) -> RubricRevision | None:
    query = select(RubricRevision).where(RubricRevision.project_id == project_id, RubricRevision.id == revision_id)
    return session.scalar(query)


def has_candidates(session: Session, prompt_set_id: str, *, split: Split | None, least: int = 2) -> bool:
    """Whether any prompt, of one split or of both, brings so many candidates: two can be compared."""
    return _any_prompt(session, prompt_set_id, split, func.jsonb_array_length(Prompt.candidates) >= least)


def has_trajectories(session: Session, prompt_set_id: str, *, split: Split | None) -> bool:
    """Whether any prompt, of one split or of both, brings a candidate of more than one turn."""
    found = func.jsonb_path_exists(Prompt.candidates, cast('strict $[*] ? (@.type() == "array")', JSONPATH))
    return _any_prompt(session, prompt_set_id, split, found)


def has_more_authors(session: Session, prompt_set_id: str, *, than: int) -> bool:
    """Whether the candidates of a set have more different authors than that; an unnamed one is none."""
    authors = func.jsonb_array_elements_text(Prompt.authors).table_valued("name").lateral("authors")
    named = select(authors.c.name).select_from(Prompt).join(authors, true()).distinct().limit(than + 1)
    named = named.where(Prompt.prompt_set_id == prompt_set_id, authors.c.name.is_not(None))
    return len(session.scalars(named).all()) > than


def has_tools(session: Session, prompt_set_id: str) -> bool:
    """Whether any held-out prompt brings tools, or turns that call one or answer for one."""
    turns = func.jsonb_path_exists(Prompt.messages, cast('$[*] ? (@.role == "tool" || exists(@.tool_calls))', JSONPATH))
    return _any_prompt(session, prompt_set_id, Split.HELD_OUT, Prompt.tools.is_not(None) | turns)


def has_preferences(session: Session, prompt_set_id: str) -> bool:
    """Whether any train prompt brings a preference."""
    return _any_prompt(session, prompt_set_id, Split.TRAIN, func.jsonb_array_length(Prompt.preferences) >= 1)


def has_references(session: Session, prompt_set_id: str) -> bool:
    """Whether any train prompt brings a reference answer that is not blank."""
    return _any_prompt(session, prompt_set_id, Split.TRAIN, Prompt.reference.regexp_match(r"\S"))


def has_labels(session: Session, prompt_set_id: str, *, split: Split | None) -> bool:
    """Whether any prompt, of one split or of both, brings what people say of its candidates."""
    labels = func.jsonb_array_length(Prompt.preferences) + func.jsonb_array_length(Prompt.annotations)
    return _any_prompt(session, prompt_set_id, split, labels >= 1)


def _any_prompt(session: Session, prompt_set_id: str, split: Split | None, condition: ColumnElement[bool]) -> bool:
    splits = tuple(Split) if split is None else (split,)
    found = select(Prompt.id).where(Prompt.prompt_set_id == prompt_set_id, Prompt.split.in_(splits), condition)
    return session.scalar(select(found.exists())) or False
