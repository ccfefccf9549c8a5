"""In which ways a judge can be asked about a prompt's completions, and which kinds of judge can be asked so."""

from __future__ import annotations

from enum import StrEnum


class Mode(StrEnum):
    """`pairwise` compares two by the whole rubric, `per_criterion` by one criterion at a time; `listwise` ranks a
    group; `pointwise` rates each from 1 to 10."""

    PAIRWISE = "pairwise"
    PER_CRITERION = "per_criterion"
    LISTWISE = "listwise"
    POINTWISE = "pointwise"

    @property
    def groups(self) -> bool:
        """Whether a prompt's completions are judged together or one by one, and not in pairs: one principle for all."""
        return self in (Mode.LISTWISE, Mode.POINTWISE)


_MODES = {
    "openai": frozenset(Mode),
    "anthropic": frozenset(Mode),
    "local": frozenset((Mode.PAIRWISE, Mode.PER_CRITERION, Mode.POINTWISE)),
    "replay": frozenset((Mode.PAIRWISE, Mode.PER_CRITERION)),
}
_PAIRS_ALONE = frozenset((Mode.PAIRWISE,))


def modes_of(kind: str) -> frozenset[Mode]:
    """The modes in which a judge of this kind can answer."""
    return _MODES.get(kind, _PAIRS_ALONE)
