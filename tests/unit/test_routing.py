"""Which comparisons are put to people."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.routing import JudgedComparison, Routed, RoutingReason, Share, priority, route

AWAITS, LOW, DISAGREE, INCONSISTENT, RANDOM = RoutingReason
probabilities = st.integers(0, 16).map(lambda sixteenths: sixteenths / 16)  # 1 - p is exact: none leans over
orders = st.dictionaries(
    st.sampled_from(["one", "two", "three"]), st.lists(probabilities, min_size=1, max_size=2).map(tuple), min_size=1
)
judged = st.lists(orders, max_size=12).map(
    lambda given: [JudgedComparison(f"c{number}", each, number % 3 == 0) for number, each in enumerate(given)]
)
shares = st.lists(
    st.builds(Share, st.sampled_from(RoutingReason), st.floats(0.1, 10)),
    min_size=1,
    max_size=4,
    unique_by=lambda share: share.reason,
)


def of(**orders: tuple[float, ...]) -> JudgedComparison:
    return JudgedComparison("c", orders)


def swapped(each: JudgedComparison) -> JudgedComparison:
    """The same verdicts about the two completions in the other order."""
    return replace(each, orders={judge: tuple(1 - p for p in reversed(given)) for judge, given in each.orders.items()})


class TestPriority:
    @pytest.mark.parametrize(
        ("reason", "judged", "expected"),
        [
            (LOW, of(one=(0.5, 0.5)), 1.0),
            (LOW, of(one=(1.0, 1.0)), 0.0),
            (LOW, of(one=(1.0, 1.0), two=(0.0, 0.0)), 1.0),
            (LOW, of(one=(0.6,)), None),
            (AWAITS, of(one=(0.5, 0.5)), None),
            (AWAITS, replace(of(one=(0.75, 0.75)), awaits_people=True), 0.5),
            (AWAITS, replace(of(one=(0.75,)), awaits_people=True), 0.0),
            (DISAGREE, of(one=(0.9, 0.9), two=(0.2, 0.2)), 0.7),
            (DISAGREE, of(one=(0.9, 0.9), two=(0.6, 0.6)), None),
            (DISAGREE, of(one=(0.9, 0.9), two=(0.5, 0.5)), None),
            (DISAGREE, of(one=(0.9, 0.9)), None),
            (INCONSISTENT, of(one=(0.9, 0.2)), 0.7),
            (INCONSISTENT, of(one=(0.9, 0.6)), None),
            (INCONSISTENT, of(one=(0.9, 0.8), two=(0.1, 0.6)), 0.5),
            (INCONSISTENT, of(one=(0.9,)), None),
        ],
    )
    def test_is_how_much_there_is_of_the_reason(
        self, reason: RoutingReason, judged: JudgedComparison, expected: float | None
    ) -> None:
        found = priority(judged, reason, seed=0)
        assert found == (None if expected is None else pytest.approx(expected))

    @given(orders, st.sampled_from([AWAITS, LOW, DISAGREE, INCONSISTENT]))
    def test_does_not_depend_on_which_completion_is_called_first(
        self, orders: dict[str, tuple[float, ...]], reason: RoutingReason
    ) -> None:
        each = JudgedComparison("c", orders, awaits_people=True)
        expected = priority(each, reason, seed=0)
        found = priority(swapped(each), reason, seed=0)
        assert found == (None if expected is None else pytest.approx(expected, abs=1e-12))

    @given(judged, st.sampled_from(RoutingReason))
    def test_is_a_share(self, judged: list[JudgedComparison], reason: RoutingReason) -> None:
        found = [priority(each, reason, seed=3) for each in judged]
        assert all(0 <= one <= 1 for one in found if one is not None)


class TestRoute:
    @given(judged, shares, st.integers(1, 15), st.integers(0, 9), st.randoms(use_true_random=False))
    def test_the_order_of_the_input_changes_nothing(
        self, judged: list[JudgedComparison], shares: list[Share], limit: int, seed: int, rng: random.Random
    ) -> None:
        shuffled = list(judged)
        rng.shuffle(shuffled)
        assert route(shuffled, shares, limit=limit, seed=seed) == route(judged, shares, limit=limit, seed=seed)

    @given(judged, shares, st.integers(1, 15))
    def test_each_once_and_never_more_than_asked_for(
        self, judged: list[JudgedComparison], shares: list[Share], limit: int
    ) -> None:
        chosen = route(judged, shares, limit=limit, seed=0)
        assert len({each.comparison_id for each in chosen}) == len(chosen) <= limit
        for each in chosen:
            known = next(one for one in judged if one.comparison_id == each.comparison_id)
            assert each.priority == priority(known, each.reason, seed=0)

    def test_shares_are_whole_places_of_the_limit(self) -> None:
        pool = [JudgedComparison(f"c{i}", {"one": (0.5, 0.5)}) for i in range(20)]
        chosen = route(pool, [Share(LOW, 2), Share(RANDOM, 1)], limit=10, seed=0)
        assert [sum(each.reason is reason for each in chosen) for reason in (LOW, RANDOM)] == [7, 3]

    def test_a_share_that_finds_too_few_stays_short(self) -> None:
        pool = [JudgedComparison(f"c{i}", {"one": (0.9, 0.9)}) for i in range(20)]
        chosen = route(pool, [Share(INCONSISTENT, 1), Share(RANDOM, 1)], limit=10, seed=0)
        assert [each.reason for each in chosen] == [RANDOM] * 5

    def test_random_is_another_draw_for_another_seed(self) -> None:
        pool = [JudgedComparison(f"c{i}", {"one": (0.9, 0.9)}) for i in range(50)]
        draws = [{each.comparison_id for each in self._random(pool, seed)} for seed in (0, 0, 1)]
        assert draws[0] == draws[1] != draws[2]

    @staticmethod
    def _random(pool: list[JudgedComparison], seed: int) -> list[Routed]:
        return route(pool, [Share(RANDOM, 1)], limit=10, seed=seed)
