"""Instruments: both sides are treated alike, maps keep order, and a cascade decides nothing that it is not sure of."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.beliefs import Belief
from app.rlaif.instruments import (
    EQUAL_VOTES,
    Calibrated,
    Cascade,
    Fitted,
    Instrument,
    Step,
    WeightedPanel,
    confidence,
    read,
    stored,
)
from app.rlaif.panel import Panel
from app.rlaif.reliability import Isotonic, Temperature
from tests.unit.labelled import JUDGES

shares = st.floats(0, 1).map(lambda value: round(value, 3))
maps = st.one_of(
    st.floats(0, 3).map(Temperature),
    st.lists(st.floats(0.5, 1), min_size=1, max_size=4).map(
        lambda values: Isotonic(
            (
                0.0,
                *(0.5 - (i + 1) / 20 for i in reversed(range(len(values)))),
                *(0.5 + (i + 1) / 20 for i in range(len(values))),
                1.0,
            ),
            (0.0, *(1 - v for v in sorted(values, reverse=True)), *sorted(values), 1.0),
        )
    ),
)
calibrated = st.builds(Calibrated, st.sampled_from(JUDGES), maps)
panels = st.lists(st.floats(-3, 3), min_size=3, max_size=3).map(
    lambda weights: WeightedPanel(Panel(JUDGES, tuple(weights), 1.0))
)
cascades = st.builds(
    Cascade,
    st.lists(st.builds(Step, calibrated, st.one_of(st.none(), st.floats(0.5, 1))), min_size=1, max_size=3).map(tuple),
    st.sampled_from(["people", "drop", "keep"]),
)
fitted = st.one_of(calibrated, panels, cascades)
instruments = st.one_of(st.just(EQUAL_VOTES), fitted)
beliefs = st.dictionaries(st.sampled_from(JUDGES), st.builds(Belief, shares, st.booleans()))


def swapped(given: Mapping[str, Belief]) -> dict[str, Belief]:
    return {judge: Belief(1 - belief.probability, belief.consistent) for judge, belief in given.items()}


@given(instruments, beliefs)
def test_exchanging_the_sides_exchanges_the_probabilities(instrument: Instrument, given_: dict[str, Belief]) -> None:
    one, other = instrument.probability(given_), instrument.probability(swapped(given_))
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert one == pytest.approx(1 - other, abs=1e-9)
        assert 0 <= one <= 1


@given(calibrated, shares, shares)
def test_a_calibrated_judge_keeps_its_order(instrument: Calibrated, low: float, high: float) -> None:
    low, high = sorted((low, high))
    one, other = (instrument.probability({instrument.judge: Belief(p, True)}) for p in (low, high))
    assert one is not None
    assert other is not None
    assert one <= other + 1e-12


@given(instruments)
def test_without_a_belief_there_is_no_probability(instrument: Instrument) -> None:
    assert instrument.probability({}) is None


@given(fitted)
def test_what_was_fitted_is_read_back(instrument: Fitted) -> None:
    assert read(stored(instrument)) == instrument


@given(cascades, beliefs)
def test_a_cascade_decides_only_where_a_step_is_sure(cascade: Cascade, given_: dict[str, Belief]) -> None:
    probability = cascade.probability(given_)
    if probability is None or cascade.then == "keep":
        return
    assert any(step.threshold is not None and confidence(probability) >= step.threshold for step in cascade.steps)


@given(cascades, beliefs)
def test_whom_a_cascade_asks_next_is_the_first_that_nobody_before_made_needless(
    cascade: Cascade, given_: dict[str, Belief]
) -> None:
    asked: list[str] = []
    while (judge := cascade.next_judge({j: given_[j] for j in asked if j in given_}, asked)) is not None:
        assert judge not in asked
        asked.append(judge)
    decided = cascade.probability({judge: given_[judge] for judge in asked if judge in given_})
    everybody = [step.instrument.judge for step in cascade.steps]
    assert decided == cascade.probability(given_) or set(asked) == set(everybody)


def test_a_judge_that_has_not_answered_is_passed_over() -> None:
    sure = Step(Calibrated("bob", Temperature(1.0)), 0.6)
    cascade = Cascade((Step(Calibrated("ada", Temperature(1.0)), 0.6), sure), "drop")
    assert cascade.probability({"bob": Belief(0.9, True)}) == pytest.approx(0.9)
    assert cascade.next_judge({}, ["ada"]) == "bob"
