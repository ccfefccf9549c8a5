"""What became of every call that a judge endpoint received: its journal beside the verdicts that are stored."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tests.process.judge_server import Call


@dataclass(frozen=True, slots=True)
class Audit:
    """Questions, by their hash: asked without a verdict, with more than one, asked more or less often than counted."""

    lost: frozenset[str]
    duplicated: frozenset[str]
    miscounted: frozenset[str]

    @property
    def clean(self) -> bool:
        return not (self.lost or self.duplicated or self.miscounted)


def audit(calls: Iterable[Call], verdicts: Iterable[Mapping[str, Any]]) -> Audit:
    """Of the calls and the verdicts of a run that has judged to its end, in rows as the API gives them."""
    rows = list(verdicts)
    asked = Counter(call.question for call in calls)
    stored = Counter(str(row["prompt_hash"]) for row in rows)
    counted = Counter[str]()
    for row in rows:
        counted[str(row["prompt_hash"])] += row["attempts"]
    return Audit(
        lost=frozenset(asked.keys() - stored.keys()),
        duplicated=frozenset(question for question, count in stored.items() if count > 1),
        miscounted=frozenset(question for question in stored if counted[question] != asked[question]),
    )
