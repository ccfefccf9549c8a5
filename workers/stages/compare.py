"""Comparisons as rows: made once for each unit, read back with their texts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Self

from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import Purpose
from app.repositories.comparisons import ComparisonRow, comparisons_of
from app.repositories.completions import CompletionRow, completions_by_id
from app.repositories.prompts import PromptRow
from workers.stages.contract import ShardWork
from workers.stages.pairing import Pair


@dataclass(frozen=True, slots=True)
class Compared:
    """A stored comparison with its prompt and its two completions."""

    row: ComparisonRow
    prompt: PromptRow
    first: CompletionRow
    second: CompletionRow

    @property
    def identical(self) -> bool:
        return self.first.text == self.second.text


@dataclass(frozen=True, slots=True)
class Block:
    """The comparisons of some prompts that are put to a judge, by prompt; `prompts` counts those without any too."""

    prompts: int
    comparisons: Sequence[Compared]

    @classmethod
    def of(cls, prompts: Sequence[PromptRow], found: Iterable[Compared]) -> Self:
        """Completions of identical texts are no question."""
        return cls(len(prompts), [item for item in found if not item.identical])

    def by_prompt(self) -> Iterator[tuple[PromptRow, list[Compared]]]:
        for _, items in groupby(self.comparisons, key=lambda item: item.prompt.id):
            of_prompt = list(items)
            yield of_prompt[0].prompt, of_prompt


def comparison_unit(work: ShardWork, pair: Pair, *, purpose: Purpose, principle: str | None = None) -> dict[str, Any]:
    """The row of a new comparison."""
    return {
        "id": new_id(Kind.COMPARISON),
        "project_id": work.project_id,
        "run_id": work.run_id,
        "round": work.round,
        "purpose": purpose,
        "prompt_id": pair.first.prompt_id,
        "first_id": pair.first.id,
        "second_id": pair.second.id,
        "principle": principle,
    }


def compared(
    session: Session, run_id: str, *, round_: int, purposes: Collection[Purpose], prompts: Sequence[PromptRow]
) -> list[Compared]:
    """The comparisons of some prompts, by prompt in the given order, then by their completions."""
    by_id = {prompt.id: prompt for prompt in prompts}
    rows = comparisons_of(session, run_id, round_=round_, purposes=purposes, prompt_ids=list(by_id))
    texts = completions_by_id(session, _completion_ids(rows))
    found = [Compared(row, by_id[row.prompt_id], texts[row.first_id], texts[row.second_id]) for row in rows]
    return sorted(found, key=_unit_order)


def _completion_ids(rows: Iterable[ComparisonRow]) -> set[str]:
    return {id_ for row in rows for id_ in (row.first_id, row.second_id)}


def _unit_order(item: Compared) -> tuple[Any, ...]:
    places = sorted((row.source, row.candidate, row.position) for row in (item.first, item.second))
    return (item.prompt.position, item.row.purpose, places, item.first.position)
