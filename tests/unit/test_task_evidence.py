"""What is said of a policy's scores beside its base model's on the same documents."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.resampling import Resampler
from app.rlaif.task import MetricName
from app.rlaif.task_evidence import TaskFigure, figure


def measured(base: Sequence[float], policy: Sequence[float], metric: MetricName = MetricName.ACC) -> TaskFigure:
    scores = ([{"x": value} for value in values] for values in (base, policy))
    return figure("x", metric, *scores, resampler=Resampler(7, 400))


class TestFigure:
    def test_counts_the_documents_that_changed_sides(self) -> None:
        found = measured([1, 1, 0, 0, 0, 0, 0, 0], [1, 0, 1, 1, 1, 1, 1, 0])
        assert (found.base, found.policy, found.difference.value) == (0.25, 0.75, 0.5)
        assert (found.gained, found.lost) == (5, 1)
        assert found.p_value == pytest.approx(2 * (1 + 6) / 2**6)  # exact McNemar: 1 of 6 or fewer, both sides

    def test_nothing_changed(self) -> None:
        found = measured([1, 0, 1], [1, 0, 1])
        assert (found.difference.value, found.difference.low, found.difference.high) == (0, 0, 0)
        assert (found.gained, found.lost, found.p_value) == (0, 0, 1.0)

    def test_perplexity_is_of_the_mean_and_lower_is_better(self) -> None:
        found = measured([-1.0, -3.0], [-1.0, -1.0], MetricName.PERPLEXITY)
        assert found.base == pytest.approx(math.exp(2))
        assert found.policy == pytest.approx(math.e)
        assert found.difference.value < 0 < found.change.value
        assert (found.gained, found.lost, found.p_value) == (None, None, None)

    @given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40))
    def test_base_and_policy_exchanged_change_the_sign(self, pairs: list[tuple[bool, bool]]) -> None:
        base, policy = ([float(pair[side]) for pair in pairs] for side in (0, 1))
        one, other = measured(base, policy), measured(policy, base)
        assert one.difference.value == pytest.approx(-other.difference.value)
        assert one.difference.low == pytest.approx(-other.difference.high)
        assert (one.gained, one.lost, one.p_value) == (other.lost, other.gained, other.p_value)
