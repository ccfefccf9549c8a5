"""What the linter finds in a rubric, and nothing of how it finds it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class FindingKind(StrEnum):
    """What is wrong with a criterion, or with two of them together."""

    VAGUE = "vague"
    COMPOUND = "compound"
    CONTRADICTORY = "contradictory"
    UNMEASURABLE = "unmeasurable"
    DUPLICATE = "duplicate"
    MISSING_ANCHORS = "missing_anchors"
    REWARDS_LENGTH = "rewards_length"
    DOMINANT_WEIGHT = "dominant_weight"
    TEMPLATE_LEFTOVER = "template_leftover"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to mend.

    `criterion` is None where it is about the rubric's description, a principle or a golden example; `other` is the
    second criterion of a contradiction or a duplicate. `words` are those that caused it, as they stand there.
    """

    criterion: str | None
    kind: FindingKind
    words: tuple[str, ...]
    why: str
    remedy: str
    other: str | None = None
