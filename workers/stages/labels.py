"""What people said of a prompt's candidates, by the candidates' places."""

from __future__ import annotations

from dataclasses import dataclass

from app.repositories.prompts import PromptRow
from app.rlaif.annotation import GivenAnswer
from app.rlaif.comparison import Answer
from app.rlaif.labelled import outcome_of

Places = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Label:
    """`outcome` is P(first is better) by people; None where their answers are divided."""

    outcome: float | None
    people: tuple[GivenAnswer, ...]


def labelled_places(prompt: PromptRow) -> set[Places]:
    """The (first, second) places of candidates that carry a label, as it was stated."""
    return {(stated["first"], stated["second"]) for stated in (*prompt.preferences, *prompt.annotations)}


def label_of(prompt: PromptRow, places: Places) -> Label | None:
    """Of the candidates at (first, second), seen from that side. Annotations go before a preference."""
    people = tuple(
        _given(stated, swapped=(stated["first"], stated["second"]) != places)
        for stated in prompt.annotations
        if {stated["first"], stated["second"]} == set(places)
    )
    if people:
        return Label(outcome_of(people), people)
    for stated in prompt.preferences:
        if {stated["first"], stated["second"]} == set(places):
            probability = float(stated["probability"])
            return Label(probability if stated["first"] == places[0] else 1.0 - probability, ())
    return None


def _given(stated: dict[str, object], *, swapped: bool) -> GivenAnswer:
    answer = Answer(str(stated["answer"]))
    return GivenAnswer(str(stated["annotator"]), answer.swap() if swapped else answer, bool(stated["adjudication"]))
