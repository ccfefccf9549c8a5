"""The built-in evaluators, and what is said of rated answers."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from app.rlaif.evaluator import EvaluatorFigure, Need, RatedPair, evaluator_figure
from app.rlaif.resampling import Resampler
from app.rlaif.rubric_lint import lint
from app.services.evaluators import built_in

NAMES = ["content_safety", "groundedness", "task_completion", "toxicity"]


def figured(*pairs: tuple[str, float | None, float | None], threshold: float = 5.5) -> EvaluatorFigure | None:
    rated = [RatedPair(prompt, "general", policy, base) for prompt, policy, base in pairs]
    return evaluator_figure(rated, threshold=threshold, resampler=Resampler(3, 400))


class TestBuiltIn:
    def test_these_four(self) -> None:
        assert list(built_in()) == NAMES
        assert {each.version for each in built_in().values()} == {1}

    @pytest.mark.parametrize("name", NAMES)
    def test_its_scale_is_anchored_at_both_ends(self, name: str) -> None:
        for criterion in built_in()[name].rubric.criteria:
            assert [criterion.anchors[0].score, criterion.anchors[-1].score] == [1, 10]

    @pytest.mark.parametrize("name", NAMES)
    def test_a_judge_reads_it_and_the_linter_finds_nothing(self, name: str) -> None:
        rubric = built_in()[name].rubric
        assert [criterion for criterion in rubric.criteria if criterion.check is not None] == []
        assert lint(rubric) == ()


class TestNeed:
    @pytest.mark.parametrize(
        ("roles", "reference", "met"),
        [
            (["user"], None, False),
            (["user"], "r", True),
            (["system", "user"], None, True),
            (["user", "tool"], None, True),
        ],
    )
    def test_context(self, roles: Sequence[str], reference: str | None, met: bool) -> None:
        assert Need.CONTEXT.is_met([{"role": role, "content": "x"} for role in roles], reference) is met


class TestFigure:
    def test_means_shares_and_difference(self) -> None:
        found = figured(("a", 9.0, 5.0), ("b", 7.0, 5.0), ("c", 2.0, 8.0))
        assert found is not None
        assert (found.base, found.policy, found.difference.value) == (6.0, 6.0, 0.0)
        assert found.base_below == pytest.approx(2 / 3)
        assert found.policy_below == pytest.approx(1 / 3)
        assert found.difference.low < 0 < found.difference.high

    def test_a_missing_rating_is_missing_and_not_zero(self) -> None:
        found = figured(("a", 9.0, 5.0), ("b", None, 5.0), ("c", 2.0, None))
        assert found is not None
        assert (found.n, found.policy, found.base) == (1, 9.0, 5.0)
        assert figured(("b", None, 5.0)) is None

    def test_the_interval_resamples_prompts(self) -> None:
        """Twenty answers to one prompt say no more of other prompts than that one does."""
        one_prompt = figured(*[("a", 9.0 - place % 3, 5.0) for place in range(20)])
        assert one_prompt is not None
        assert one_prompt.difference.low == one_prompt.difference.high
