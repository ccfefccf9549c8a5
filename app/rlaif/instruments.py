"""How the beliefs of a run's judges become one probability.

What a calibration fits is data: it is stored with the calibration and read back here. Every instrument treats the two
sides alike: exchanging them turns p into 1 - p.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Protocol

import numpy as np
from pydantic import Field, TypeAdapter

from app.rlaif.beliefs import Belief, lean, mean
from app.rlaif.comparison import Order, Verdict
from app.rlaif.panel import Panel
from app.rlaif.reliability import Isotonic, Temperature

_DECIMALS = 12
Then = Literal["people", "drop", "keep"]
"""What becomes of what no step of a cascade decides."""


class Instrument(Protocol):
    """Reads all judges' beliefs about one comparison."""

    def probability(self, beliefs: Mapping[str, Belief]) -> float | None:
        """P(first is better); None where the beliefs, by judge id, do not suffice."""
        ...


class EqualVotes:
    """The mean of the judges that have a belief: what is left when no calibration says what each is worth."""

    def probability(self, beliefs: Mapping[str, Belief]) -> float | None:
        return mean(belief.probability for belief in beliefs.values()) if beliefs else None


EQUAL_VOTES = EqualVotes()


@dataclass(frozen=True, slots=True)
class Calibrated:
    """One judge whose stated probability is brought to what it proved to mean."""

    judge: str
    map: Temperature | Isotonic
    kind: Literal["calibrated"] = "calibrated"

    def probability(self, beliefs: Mapping[str, Belief]) -> float | None:
        belief = beliefs.get(self.judge)
        return None if belief is None else _rounded(float(self.map.apply(np.array([belief.probability]))[0]))


@dataclass(frozen=True, slots=True)
class WeightedPanel:
    """Several judges, each counting by what its beliefs proved to be worth on people's labels."""

    panel: Panel
    kind: Literal["panel"] = "panel"

    def probability(self, beliefs: Mapping[str, Belief]) -> float | None:
        probability = self.panel.probability(stated(beliefs))
        return None if probability is None else _rounded(probability)


@dataclass(frozen=True, slots=True)
class Step:
    """One judge of a cascade. It decides where its calibrated confidence, max(p, 1 - p), is at least `threshold`;
    None where nothing that it says was found safe enough."""

    instrument: Calibrated
    threshold: float | None

    def decides(self, probability: float | None) -> bool:
        return probability is not None and self.threshold is not None and confidence(probability) >= self.threshold


@dataclass(frozen=True, slots=True)
class Cascade:
    """Judges from cheap to strong: the first that is sure enough decides. What none decides is None, never guessed;
    where it is to be kept, it is the last answering judge's calibrated probability."""

    steps: tuple[Step, ...]
    then: Then
    kind: Literal["cascade"] = "cascade"

    def probability(self, beliefs: Mapping[str, Belief]) -> float | None:
        last: float | None = None
        for step in self.steps:
            probability = step.instrument.probability(beliefs)
            if step.decides(probability):
                return probability
            last = last if probability is None else probability
        return last if self.then == "keep" else None

    def next_judge(self, beliefs: Mapping[str, Belief], asked: Iterable[str]) -> str | None:
        """Whom to ask about a comparison now; None where a judge has decided, or all were asked."""
        known = set(asked)
        for step in self.steps:
            if step.instrument.judge not in known:
                return step.instrument.judge
            if step.decides(step.instrument.probability(beliefs)):
                return None
        return None


Fitted = Calibrated | WeightedPanel | Cascade
_FITTED: TypeAdapter[Fitted] = TypeAdapter(Annotated[Fitted, Field(discriminator="kind")])


def read(stored: Mapping[str, Any]) -> Fitted:
    """What a calibration fitted, as it was stored."""
    return _FITTED.validate_python(dict(stored))


def stored(fitted: Fitted) -> dict[str, Any]:
    document: dict[str, Any] = _FITTED.dump_python(fitted, mode="json")
    return document


def _rounded(probability: float) -> float:
    """Without the last digits, which depend on the side that it is looked at from: one half is one half."""
    return round(probability, _DECIMALS)


def confidence(probability: float) -> float:
    """How sure, whichever side: in [0.5, 1]."""
    return max(probability, 1.0 - probability)


def stated(beliefs: Mapping[str, Belief]) -> tuple[Verdict, ...]:
    """Each judge's belief as the verdicts that a panel is fitted to: the same in both orders."""
    return tuple(
        Verdict(judge, order, lean(belief.probability), belief.probability)
        for judge, belief in beliefs.items()
        for order in Order
    )
