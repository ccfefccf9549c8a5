"""Items of annotation queues: made, locked to be settled, and read with all that a person is shown."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, Select, func, select
from sqlalchemy.orm import Session, aliased, defer

from app.db.models import (
    AnnotationItem,
    Comparison,
    Completion,
    CompletionSource,
    ItemState,
    Model,
    Prompt,
    Run,
)
from app.repositories.units import among


@dataclass(frozen=True, slots=True)
class ItemContent:
    """What an item is about. `prompt` holds a Prompt's fields but its candidates and what refers to them."""

    item_id: str
    prompt_key: str
    prompt: dict[str, Any]
    principle: str | None
    first: Any
    second: Any
    authors: tuple[str | None, str | None]


def locked(session: Session, item_ids: Collection[str]) -> list[AnnotationItem]:
    """The items as they stand once nobody else is settling them.

    FOR NO KEY UPDATE: every annotation that comes in holds a key share of its item, and two of them must not wait for
    each other.
    """
    query = select(AnnotationItem).where(among(AnnotationItem.id, item_ids)).order_by(AnnotationItem.id)
    query = query.options(defer(AnnotationItem.content))
    return list(session.scalars(query.with_for_update(key_share=True).execution_options(populate_existing=True)))


def settled_ids(session: Session, queue_id: str, *, batch: int) -> Iterator[list[str]]:
    """Every settled item, those of one prompt one after another."""
    key, id_ = "", ""
    while True:
        query = (
            select(AnnotationItem.prompt_key, AnnotationItem.id)
            .where(
                AnnotationItem.queue_id == queue_id,
                AnnotationItem.state.in_((ItemState.DONE, ItemState.ADJUDICATED)),
                func.row(AnnotationItem.prompt_key, AnnotationItem.id) > func.row(key, id_),
            )
            .order_by(AnnotationItem.prompt_key, AnnotationItem.id)
            .limit(batch)
        )
        rows = session.execute(query).all()
        if not rows:
            return
        key, id_ = rows[-1]
        yield [row.id for row in rows]


def contents(session: Session, item_ids: Collection[str]) -> dict[str, ItemContent]:
    """By item id."""
    own = select(AnnotationItem).where(among(AnnotationItem.id, item_ids), AnnotationItem.content.is_not(None))
    found = {item.id: _own(item) for item in session.scalars(own)}
    return found | {row.id: _compared(row) for row in session.execute(_comparisons(item_ids))}


def _own(item: AnnotationItem) -> ItemContent:
    prompt = dict(item.content or {})
    first, second = prompt.pop("candidates")
    one, other = prompt.pop("authors")
    return ItemContent(item.id, item.prompt_key, prompt, None, first, second, (one, other))


def _comparisons(item_ids: Collection[str]) -> Select[*tuple[Any, ...]]:
    first, second = aliased(Completion, name="first"), aliased(Completion, name="second")
    columns = (AnnotationItem.id, AnnotationItem.prompt_key, Prompt, Comparison.principle, first, second, Model.family)
    return (
        select(*columns)
        .join(Comparison, Comparison.id == AnnotationItem.comparison_id)
        .join(Prompt, Prompt.id == Comparison.prompt_id)
        .join(first, first.id == Comparison.first_id)
        .join(second, second.id == Comparison.second_id)
        .join(Run, Run.id == Comparison.run_id)
        .outerjoin(Model, Model.id == Run.base_model_id)
        .where(among(AnnotationItem.id, item_ids))
    )


def _compared(row: Row[Any]) -> ItemContent:
    return ItemContent(
        item_id=row.id,
        prompt_key=row.prompt_key,
        prompt=_prompt(row.Prompt),
        principle=row.principle,
        first=_content(row.first),
        second=_content(row.second),
        authors=(_author(row.first, row.Prompt, row.family), _author(row.second, row.Prompt, row.family)),
    )


def _content(completion: Completion) -> Any:
    return completion.text if completion.turns is None else completion.turns


def _prompt(prompt: Prompt) -> dict[str, Any]:
    fields = {name: getattr(prompt, name) for name in ("messages", "tools", "reference", "criteria", "cohort", "split")}
    return {name: value for name, value in fields.items() if value is not None}


def _author(completion: Completion, prompt: Prompt, family: str | None) -> str | None:
    """The family of the model that wrote it; a candidate's is what its author says."""
    if completion.source is not CompletionSource.IMPORTED:
        return family
    author: str | None = prompt.authors[completion.position] if prompt.authors else None
    return author
