"""Verdicts for tests: by hand, and as hypothesis strategies."""

from __future__ import annotations

from hypothesis import strategies as st

from app.rlaif.comparison import Answer, Order, Verdict


def verdict(probability: float | None, order: Order = Order.AB, *, judge: str = "judge_1", repeat: int = 0) -> Verdict:
    """A verdict whose answer follows its probability; None is INVALID."""
    if probability is None:
        answer = Answer.INVALID
    else:
        answer = Answer.TIE if probability == 0.5 else Answer.A if probability > 0.5 else Answer.B
    return Verdict(judge, order, answer, probability, repeat)


# Multiples of a power of two: 1 - p is exact, so that symmetry can be asserted to the last bit.
exact = st.integers(0, 1024).map(lambda count: count / 1024)
probabilities = st.floats(0.0, 1.0)


def verdict_sets(
    values: st.SearchStrategy[float], *, judges: int = 2, repeats: int = 2
) -> st.SearchStrategy[list[Verdict]]:
    """Verdicts of some judges on one comparison, each unit at most once, some of them INVALID."""
    units = st.tuples(
        st.sampled_from([f"judge_{number}" for number in range(judges)]),
        st.sampled_from(Order),
        st.integers(0, repeats - 1),
    )
    return st.dictionaries(units, st.none() | values, max_size=judges * repeats * 2).map(
        lambda given: [
            verdict(probability, order, judge=judge, repeat=repeat)
            for (judge, order, repeat), probability in given.items()
        ]
    )
