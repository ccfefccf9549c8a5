"""The win rate at equal length, on data where it is known who is better and who only writes more."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.rlaif.length_control import FEWEST_PROMPTS, Contest, length_controlled
from app.rlaif.logistic import sigmoid
from app.rlaif.statistics import win_rate

Contests = dict[str, list[Contest]]


def rng(seed: int = 7) -> np.random.Generator:
    return np.random.default_rng(seed)


def planted(*, strength: float, taste: float, longer_by: float, prompts: int = 400, seed: int = 3) -> Contests:
    """One answer a prompt: its win is drawn by the policy's strength and the judge's taste for 100 more tokens."""
    draw, found = rng(seed), {}
    for number in range(prompts):
        theirs = int(draw.integers(200, 400))
        ours = theirs + int(draw.normal(longer_by, 100))
        won = draw.random() < sigmoid(strength + taste * np.tanh((ours - theirs) / 150))
        found[f"p{number}"] = [Contest(float(won), ours, theirs)]
    return found


def raw(contests: Contests) -> float:
    return win_rate({name: [one.probability for one in each] for name, each in contests.items()}, rng=rng()).value


def turned(contests: Contests) -> Contests:
    return {
        name: [Contest(1 - one.probability, one.theirs, one.ours) for one in each] for name, each in contests.items()
    }


class TestPlanted:
    def test_longer_answers_before_a_judge_who_likes_length_are_no_gain(self) -> None:
        contests = planted(strength=0.0, taste=2.5, longer_by=100)
        found = length_controlled(contests, rng=rng())
        assert found is not None
        assert raw(contests) > 0.7
        assert found.value == pytest.approx(0.5, abs=0.06)
        assert found.low < 0.5 < found.high

    def test_better_answers_that_are_too_short_for_the_judge_are_a_gain(self) -> None:
        contests = planted(strength=1.0, taste=2.5, longer_by=-120)
        found = length_controlled(contests, rng=rng())
        assert found is not None
        assert raw(contests) < 0.5
        assert found.value == pytest.approx(float(sigmoid(1.0)), abs=0.08)
        assert found.low > 0.5

    def test_a_judge_who_does_not_look_at_length_changes_nothing(self) -> None:
        contests = planted(strength=0.8, taste=0.0, longer_by=0)
        found = length_controlled(contests, rng=rng())
        assert found is not None
        assert found.value == pytest.approx(raw(contests), abs=0.02)

    def test_the_interval_holds_the_truth_about_as_often_as_it_says(self) -> None:
        truth, held = float(sigmoid(0.5)), 0
        for seed in range(60):
            contests = planted(strength=0.5, taste=1.5, longer_by=60, prompts=150, seed=seed)
            found = length_controlled(contests, rng=rng(seed), samples=200)
            assert found is not None
            held += found.low <= truth <= found.high
        assert held >= 51

    def test_repeated_answers_to_one_prompt_do_not_narrow_the_interval(self) -> None:
        once = planted(strength=0.5, taste=1.0, longer_by=50, prompts=60)
        one = length_controlled(once, rng=rng())
        ten = length_controlled({name: each * 10 for name, each in once.items()}, rng=rng())
        assert one is not None
        assert ten is not None
        assert (one.low, one.value, one.high) == pytest.approx((ten.low, ten.value, ten.high), abs=0.01)


lengths = st.integers(0, 5000)
contests_of_a_prompt = st.lists(
    st.builds(Contest, st.sampled_from([0.0, 0.2, 0.5, 0.7, 1.0]), lengths, lengths), min_size=1, max_size=3
)
many = st.lists(contests_of_a_prompt, min_size=FEWEST_PROMPTS, max_size=40).map(
    lambda each: {f"p{number}": one for number, one in enumerate(each)}
)


class TestProperties:
    @given(many)
    @settings(max_examples=60)
    def test_rates_of_both_sides_add_up_to_one(self, contests: Contests) -> None:
        one = length_controlled(contests, rng=rng(), samples=100)
        other = length_controlled(turned(contests), rng=rng(), samples=100)
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert one.value + other.value == pytest.approx(1.0, abs=1e-9)
            assert one.low + other.high == pytest.approx(1.0, abs=1e-9)

    @given(many)
    @settings(max_examples=30)
    def test_the_order_of_prompts_changes_nothing(self, contests: Contests) -> None:
        backwards = dict(reversed(contests.items()))
        assert length_controlled(backwards, rng=rng(), samples=100) == length_controlled(
            contests, rng=rng(), samples=100
        )

    @given(many, st.integers(2, 1000))
    @settings(max_examples=30)
    def test_the_unit_of_length_changes_nothing(self, contests: Contests, factor: int) -> None:
        scaled = {
            name: [Contest(one.probability, one.ours * factor, one.theirs * factor) for one in each]
            for name, each in contests.items()
        }
        one, other = (length_controlled(each, rng=rng(), samples=100) for each in (contests, scaled))
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert one.value == pytest.approx(other.value, abs=1e-6)

    def test_winning_everything_ends(self) -> None:
        always = {f"p{number}": [Contest(1.0, 100 + number, 90)] for number in range(500)}
        found = length_controlled(always, rng=rng(), samples=200)
        assert found is not None
        assert 0.9 < found.value <= 1.0


class TestNothingToSay:
    def test_few_prompts(self) -> None:
        contests = planted(strength=0.5, taste=1.0, longer_by=50, prompts=FEWEST_PROMPTS)
        assert length_controlled(contests, rng=rng(), samples=100) is not None
        contests["p0"] = []
        assert length_controlled(contests, rng=rng(), samples=100) is None

    def test_answers_that_are_all_longer_by_as_much(self) -> None:
        contests = {f"p{number}": [Contest(float(number % 3 > 0), 30, 20)] for number in range(50)}
        assert length_controlled(contests, rng=rng(), samples=100) is None

    def test_answers_of_equal_length_are_what_they_are(self) -> None:
        contests = {f"p{number}": [Contest(float(number % 4 > 0), 20, 20)] for number in range(100)}
        found = length_controlled(contests, rng=rng(), samples=100)
        assert found is not None
        assert found.value == pytest.approx(0.75, abs=1e-3)
