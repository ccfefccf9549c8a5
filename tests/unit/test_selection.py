"""Which candidate is selected, and what is said of it."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.evidence import Reason, WinRate
from app.rlaif.measured import Measured
from app.rlaif.selection import GUARD, TASK_GUARD, Contender, Selection, Standing, guarded, paired_difference, select
from app.rlaif.statistics import NothingToEstimate, win_rate
from app.rlaif.task_evidence import TaskFigure, TaskResult

Chances = dict[str, dict[int, float]]


def rng() -> np.random.Generator:
    return np.random.default_rng(7)


def rate(outcomes: Chances) -> WinRate:
    return win_rate({prompt: list(given.values()) for prompt, given in outcomes.items()}, rng=rng(), samples=100)


def contender(candidate: int, wins: int, *, of: int = 40, failed: str | None = None, first: int = 0) -> Contender:
    """One that wins `wins` of its prompts, from prompt `first` on, and loses the others."""
    outcomes = {f"p{number:02}": {0: float((number - first) % of < wins)} for number in range(of)}
    reasons = [Reason(gate="minimum_win_rate", held=failed is None, detail=failed or "as asked")]
    return Contender(standing(candidate, rate(outcomes), reasons), outcomes)


def standing(candidate: int, win_rate: WinRate | None, reasons: list[Reason]) -> Standing:
    return Standing(
        candidate=candidate,
        settings={"beta": candidate / 10},
        checkpoint=f"checkpoint_{candidate}" if win_rate else None,
        win_rate=win_rate,
        by_cohort={},
        length=None,
        reward=None,
        divergence=None,
        reasons=reasons,
    )


def untrained(candidate: int) -> Contender:
    return Contender(standing(candidate, None, [Reason(gate="policy", held=False, detail="non_finite_loss: nan")]))


def selected(*contenders: Contender) -> Selection:
    return select(contenders, rng=rng(), samples=100)


class TestSelect:
    def test_the_highest_win_rate_is_selected_and_promoted(self) -> None:
        found = selected(contender(0, 20), contender(1, 35), contender(2, 30))
        assert (found.selected, found.runner_up, found.promoted) == (1, 2, True)
        assert found.reason.startswith("Candidate 1 has the highest win rate 0.875")

    def test_one_that_fails_a_gate_is_excluded_with_its_reason(self) -> None:
        found = selected(contender(0, 38, failed="capability fell"), contender(1, 25), contender(2, 22))
        assert (found.selected, found.runner_up) == (1, 2)
        assert (
            "Candidate 0, whose higher win rate 0.950, was excluded (minimum_win_rate: capability fell)."
            in found.reason
        )

    def test_where_none_holds_the_best_is_selected_and_none_promoted(self) -> None:
        found = selected(contender(0, 20, failed="too low"), contender(1, 30, failed="too low"))
        assert (found.selected, found.promoted) == (1, False)
        assert found.reason.startswith("No candidate holds every gate, so none is promoted; candidate 1 has")
        assert "was excluded" not in found.reason

    def test_one_that_was_not_trained_is_named(self) -> None:
        found = selected(untrained(0), contender(1, 30))
        assert (found.selected, found.runner_up, found.difference) == (1, None, None)
        assert found.reason.endswith("No other one does. Candidate 0 was not measured (policy: non_finite_loss: nan).")

    def test_nothing_measured_is_no_selection(self) -> None:
        with pytest.raises(NothingToEstimate):
            selected(untrained(0), untrained(1))

    def test_a_sure_lead_is_said_without_a_warning(self) -> None:
        found = selected(contender(0, 5), contender(1, 38))
        assert found.difference is not None
        assert found.difference.low > 0
        assert "winner's curse" not in found.reason

    def test_a_lead_that_may_be_luck_is_called_so(self) -> None:
        found = selected(contender(0, 21, first=10), contender(1, 22))
        assert found.difference is not None
        assert found.difference.p_value > 0.5
        assert "winner's curse" in found.reason

    def test_the_first_of_equals(self) -> None:
        assert selected(contender(1, 20), contender(0, 20)).selected == 0


rates = st.lists(st.tuples(st.integers(0, 12), st.booleans(), st.booleans()), min_size=1, max_size=5).filter(
    lambda found: any(trained for _, _, trained in found)
)


def field(given: list[tuple[int, bool, bool]]) -> list[Contender]:
    return [
        contender(number, wins, of=12, failed=None if holds else "no") if trained else untrained(number)
        for number, (wins, holds, trained) in enumerate(given)
    ]


class TestWhateverTheCandidates:
    @given(rates)
    def test_none_that_fails_is_selected_while_another_holds(self, given_rates: list[tuple[int, bool, bool]]) -> None:
        found = selected(*field(given_rates))
        chosen = found.candidates[found.selected]
        assert found.promoted == any(one.holds for one in found.candidates)
        assert chosen.holds == found.promoted
        assert chosen.win_rate is not None
        rivals = [one for one in found.candidates if one.win_rate and one.holds == chosen.holds]
        assert chosen.win_rate.value == max(one.win_rate.value for one in rivals if one.win_rate)

    @given(rates, st.randoms(use_true_random=False))
    def test_their_order_changes_nothing(
        self, given_rates: list[tuple[int, bool, bool]], shuffler: random.Random
    ) -> None:
        contenders = field(given_rates)
        assert selected(*shuffler.sample(contenders, len(contenders))) == selected(*contenders)


class TestPairedDifference:
    def test_is_over_what_both_have(self) -> None:
        ours: Chances = {"a": {0: 1.0, 1: 0.5}, "b": {0: 1.0}, "c": {0: 1.0}}
        theirs: Chances = {"a": {0: 0.0}, "b": {0: 1.0, 1: 0.0}}
        found = paired_difference(ours, theirs, rng=rng(), samples=100)
        assert found is not None
        assert (found.value, found.n_prompts, found.p_value) == (0.5, 2, 1.0)

    def test_nothing_in_common_is_no_difference(self) -> None:
        assert paired_difference({"a": {0: 1.0}}, {"a": {1: 1.0}}, rng=rng()) is None

    def test_the_other_way_round_it_is_the_negative(self) -> None:
        one, other = contender(0, 12).outcomes, contender(1, 30, first=3).outcomes
        there, back = (paired_difference(*pair, rng=rng(), samples=100) for pair in ((one, other), (other, one)))
        assert there is not None
        assert back is not None
        assert (there.value, there.p_value) == (-back.value, back.p_value)
        assert there.low == pytest.approx(-back.high)


def cohorts(**given: tuple[float, float]) -> dict[str, Any]:
    base = rate({"p": {0: 1.0}, "q": {0: 0.0}})
    return {
        name: base.model_copy(update={"value": (low + high) / 2, "low": low, "high": high})
        for name, (low, high) in given.items()
    }


class TestGuarded:
    def test_capability_and_regression_are_guarded_where_they_are(self) -> None:
        found = guarded(cohorts(capability=(0.2, 0.4), helpfulness=(0.1, 0.2)), {}, cohorts=None, tolerance=0.0)
        assert [(reason.gate, reason.held) for reason in found] == [(GUARD, False)]
        assert guarded(cohorts(helpfulness=(0.1, 0.2)), {}, cohorts=None, tolerance=0.0) == []

    def test_the_tolerance_is_what_the_interval_may_miss(self) -> None:
        measured = cohorts(capability=(0.2, 0.4))
        assert guarded(measured, {}, cohorts=None, tolerance=0.1)[0].held
        assert not guarded(measured, {}, cohorts=None, tolerance=0.09)[0].held

    def test_a_task_is_guarded_by_the_same_tolerance_and_a_perplexity_is_not(self) -> None:
        difference = Measured(value=-0.1, low=-0.2, high=-0.05, n=40)
        figure = TaskFigure(
            figure="acc",
            higher_is_better=True,
            base=0.5,
            policy=0.4,
            difference=difference,
            gained=1,
            lost=5,
            p_value=0.22,
        )
        task = TaskResult(task_id="t", digest="d", documents=40, base_digest="b", policy_digest="p", figures=[figure])
        unlike = figure.model_copy(update={"gained": None, "lost": None, "p_value": None})
        tasks = {"facts": task, "definitions": task.model_copy(update={"figures": [unlike]})}
        for tolerance, held in ((0.05, True), (0.04, False)):
            found = guarded({}, tasks, cohorts=None, tolerance=tolerance)
            assert [(reason.gate, reason.held) for reason in found] == [(TASK_GUARD, held)]

    def test_a_named_cohort_that_was_not_measured_does_not_hold(self) -> None:
        (found,) = guarded({}, {}, cohorts=["maths"], tolerance=0.0)
        assert not found.held
