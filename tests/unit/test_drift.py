"""Drift: a judge that says the same has none; one that changed is found, and from which side one looks is no matter."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.drift import Drift, Read, measure_drift

reads = st.builds(Read, st.just("p"), st.sampled_from([0.0, 0.5, 1.0]), st.one_of(st.none(), st.floats(0, 1)))
histories = st.dictionaries(st.integers(0, 40).map(str), reads, max_size=40)


def drift(before: dict[str, Read], now: dict[str, Read]) -> Drift:
    return measure_drift(before, now, seed=1, samples=200)


def judge(*, right: int, of: int, sure: float = 0.9, answered: int | None = None) -> dict[str, Read]:
    """Right about the first `right` of its comparisons, and with an answer to the first `answered`."""
    return {
        str(n): Read(
            f"prompt-{n}",
            float(n % 2),
            None if answered is not None and n >= answered else _stated(n, sure if n < right else 1 - sure),
        )
        for n in range(of)
    }


def _stated(n: int, people: float) -> float:
    return people if n % 2 else 1 - people


@given(histories)
def test_the_same_answers_are_no_drift(history: dict[str, Read]) -> None:
    found = drift(history, history)
    assert found.mcnemar_p == 1.0
    assert found.coverage == 0
    assert found.drifted == (found.compared == 0)
    if found.flipped is not None:
        assert found.flipped.value == 0


@given(histories, histories)
def test_looked_at_backwards_differences_change_sign(before: dict[str, Read], now: dict[str, Read]) -> None:
    later = {key: Read("p", before[key].outcome, now[key].probability) for key in before.keys() & now.keys()}
    then = {key: before[key] for key in later}
    one, other = drift(then, later), drift(later, then)
    assert (one.became_right, one.became_wrong) == (other.became_wrong, other.became_right)
    assert one.mcnemar_p == other.mcnemar_p
    if one.accuracy is not None and other.accuracy is not None:
        assert one.accuracy.value == pytest.approx(-other.accuracy.value)


def test_a_judge_that_became_worse() -> None:
    found = drift(judge(right=90, of=100), judge(right=70, of=100))
    assert found.drifted
    assert (found.became_right, found.became_wrong) == (0, 20)
    assert found.accuracy is not None
    assert found.accuracy.value == pytest.approx(-0.2)
    assert "20 answers became wrong" in found.reasons[0]


def test_a_few_changes_are_chance() -> None:
    assert not drift(judge(right=90, of=100), judge(right=88, of=100)).drifted


def test_a_judge_that_only_became_less_sure() -> None:
    found = drift(judge(right=100, of=100, sure=0.95), judge(right=100, of=100, sure=0.7))
    assert found.flipped is not None
    assert found.flipped.value == 0
    assert found.drifted
    assert "people's side moved by -0.250" in found.reasons[0]


def test_a_judge_that_began_to_refuse() -> None:
    found = drift(judge(right=100, of=100), judge(right=100, of=100, answered=80))
    assert found.coverage == pytest.approx(-0.2)
    assert found.reasons == ("the share of comparisons with an answer fell by 20.0%, more than 5%",)


def test_no_answer_at_all_is_no_comfort() -> None:
    found = drift(judge(right=10, of=10), judge(right=10, of=10, answered=0))
    assert found.compared == 0
    assert found.drifted
