"""Exact tests of paired outcomes: held against enumeration, and against the sign test that they extend."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.binomial import sign_test
from app.rlaif.significance import holm, sign_flip_test

leads = st.lists(st.integers(-4, 4), max_size=9)


def enumerated(given_leads: list[int]) -> float:
    """The share of all sign patterns whose sum is as far from 0."""
    sums = [
        sum(sign * lead for sign, lead in zip(signs, given_leads, strict=True))
        for signs in product((-1, 1), repeat=len(given_leads))
    ]
    return sum(abs(each) >= abs(sum(given_leads)) for each in sums) / len(sums)


class TestSignFlipTest:
    @given(leads)
    def test_is_the_share_of_all_sign_patterns(self, given_leads: list[int]) -> None:
        assert sign_flip_test(given_leads) == pytest.approx(enumerated(given_leads), abs=1e-12)

    @given(st.integers(0, 60), st.integers(0, 60))
    def test_is_the_sign_test_where_every_lead_is_one(self, ups: int, downs: int) -> None:
        assert sign_flip_test([1] * ups + [-1] * downs) == pytest.approx(sign_test(ups, downs), abs=1e-12)

    @given(leads)
    def test_neither_order_nor_side_changes_anything(self, given_leads: list[int]) -> None:
        turned = [-lead for lead in reversed(given_leads)]
        assert sign_flip_test(turned) == sign_flip_test(given_leads)

    def test_is_sure_of_much_and_unsure_of_nothing(self) -> None:
        assert sign_flip_test([]) == sign_flip_test([0, 0]) == 1.0
        assert sign_flip_test([2] * 5_000 + [1] * 5_000) < 1e-100


class TestHolm:
    def test_steps_down(self) -> None:
        assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
        assert holm({}) == {}

    @given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=8))
    def test_adjusts_upwards_keeps_the_order_and_stays_a_share(self, p_values: dict[str, float]) -> None:
        adjusted = holm(p_values)
        ranked = sorted(p_values, key=lambda name: (p_values[name], name))
        assert [adjusted[name] for name in ranked] == sorted(adjusted.values())
        assert all(p_values[name] <= adjusted[name] <= 1 for name in p_values)
