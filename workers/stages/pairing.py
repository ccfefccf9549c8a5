"""Which completions of a prompt are compared, and which of the two comes first. Pure, and decided by seeds alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

from app.repositories.completions import CompletionRow
from app.rlaif.listwise import LARGEST_GROUP
from app.rlaif.seeds import derive_seed


@dataclass(frozen=True, slots=True)
class Pair:
    """Two completions to compare. Those of identical texts are kept to be counted, and never put to a judge."""

    first: CompletionRow
    second: CompletionRow

    @property
    def identical(self) -> bool:
        return self.first.text == self.second.text


@dataclass(frozen=True, slots=True)
class Pairing:
    """Pairs the completions of one prompt. `seed` is the run's; `coordinates` name the round and the prompt."""

    seed: int
    coordinates: tuple[str | int, ...]

    def pairs(self, completions: Sequence[CompletionRow], scheme: Literal["all", "chain"]) -> list[Pair]:
        """Every two distinct texts, or neighbours in a ring; and each repeated text once, with its first copy."""
        distinct, repeats = _distinct(completions)
        chosen = list(combinations(distinct, 2)) if scheme == "all" else _ring(distinct)
        return [self.oriented(*pair) for pair in (*chosen, *repeats)]

    def labelled(self, completions: Sequence[CompletionRow], places: Iterable[tuple[int, int]]) -> list[Pair]:
        """The pairs of positions that carry a label, each once."""
        by_place = {completion.position: completion for completion in completions}
        unordered = sorted({(min(pair), max(pair)) for pair in places})
        return [self.oriented(by_place[low], by_place[high]) for low, high in unordered]

    def grouped(self, completions: Sequence[CompletionRow]) -> list[Pair]:
        """Every two distinct texts of one group; groups of equal size, drawn, and none larger than can be ranked."""
        distinct, repeats = _distinct(completions)
        drawn = sorted(distinct, key=lambda row: derive_seed(self.seed, *self.coordinates, "group", _name(row)))
        count = -(-len(drawn) // LARGEST_GROUP)
        chosen = [pair for start in range(count) for pair in combinations(drawn[start::count], 2)]
        return [self.oriented(*pair) for pair in (*chosen, *repeats)]

    def oriented(self, one: CompletionRow, other: CompletionRow) -> Pair:
        """The pair in an order that a coin decides, so that neither place says anything of who wrote a completion."""
        low, high = sorted((one, other), key=lambda row: (row.source, row.position))
        heads = derive_seed(self.seed, *self.coordinates, "first", _name(low), _name(high)) % 2 == 0
        return Pair(low, high) if heads else Pair(high, low)

    def principle(self, principles: Sequence[str], pair: Pair) -> str | None:
        """One of the rubric's principles for this comparison (Constitutional AI, arXiv 2212.08073)."""
        if not principles:
            return None
        names = (_name(pair.first), _name(pair.second))
        return principles[derive_seed(self.seed, *self.coordinates, "principle", *names) % len(principles)]

    def common_principle(self, principles: Sequence[str]) -> str | None:
        """One for all of the prompt's completions, which are judged together."""
        if not principles:
            return None
        return principles[derive_seed(self.seed, *self.coordinates, "principle") % len(principles)]


def _name(row: CompletionRow) -> str:
    return f"{row.source}:{row.position}"


def _distinct(
    completions: Sequence[CompletionRow],
) -> tuple[list[CompletionRow], list[tuple[CompletionRow, CompletionRow]]]:
    """The first completion of each text, and every later one beside it."""
    originals: dict[str, CompletionRow] = {}
    repeats = []
    for completion in completions:
        original = originals.setdefault(completion.text, completion)
        if original is not completion:
            repeats.append((original, completion))
    return list(originals.values()), repeats


def _ring(rows: Sequence[CompletionRow]) -> list[tuple[CompletionRow, CompletionRow]]:
    if len(rows) < 3:
        return list(combinations(rows, 2))
    return list(zip(rows, (*rows[1:], rows[0]), strict=True))
