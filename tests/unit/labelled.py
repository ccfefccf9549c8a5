"""Labelled comparisons and their judges for property tests."""

from __future__ import annotations

from hypothesis import strategies as st

from app.rlaif.annotation import GivenAnswer
from app.rlaif.beliefs import lean
from app.rlaif.comparison import Answer, InvalidReason, Order, Verdict
from app.rlaif.labelled import Asked, Labelled

JUDGES = ("ada", "bob", "cyd")


def asked(judge: str, ab: float | None, ba: float | None) -> tuple[Asked, ...]:
    """A judge's two answers; None is INVALID."""
    return tuple(
        Asked(Verdict(judge, order, Answer.INVALID, None), InvalidReason.REFUSAL)
        if probability is None
        else Asked(Verdict(judge, order, lean(probability), probability), None)
        for order, probability in ((Order.AB, ab), (Order.BA, ba))
    )


def labelled(
    number: int, outcome: float, *answers: tuple[Asked, ...], people: tuple[GivenAnswer, ...] = (), length: int = 10
) -> Labelled:
    """One comparison of a prompt of its own; the first completion has `length` characters, the second ten."""
    return Labelled(
        prompt_id=f"prompt-{number:03}",
        cohort="even" if number % 2 == 0 else "odd",
        outcome=outcome,
        people=people,
        asked=tuple(each for given in answers for each in given),
        lengths=(length, 10),
        authors=("ada-family", "other"),
    )


probabilities = st.one_of(st.none(), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0]))


@st.composite
def labelled_sets(draw: st.DrawFn, *, judges: tuple[str, ...] = JUDGES, size: int = 24) -> list[Labelled]:
    """Comparisons of distinct prompts; each judge answers some of them, and people decide most."""
    rows = []
    for number in range(draw(st.integers(8, size))):
        given = [asked(judge, draw(probabilities), draw(probabilities)) for judge in judges]
        outcome = draw(st.sampled_from([0.0, 0.0, 1.0, 1.0, 0.5]))
        rows.append(labelled(number, outcome, *given, length=draw(st.integers(5, 15))))
    return rows
