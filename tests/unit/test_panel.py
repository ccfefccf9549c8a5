from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.rlaif.comparison import Order, Verdict
from app.rlaif.cross_validation import TooFewPrompts, prompt_folds
from app.rlaif.panel import LabelledComparison, Panel, cross_validated, effective_votes, fit_panel, gain
from app.rlaif.reliability import calibration_error, correctness
from tests.unit.verdicts import probabilities, verdict, verdict_sets


def rng(seed: int = 5) -> np.random.Generator:
    return np.random.default_rng(seed)


def names(accuracies: Sequence[float]) -> tuple[str, ...]:
    return tuple(f"judge_{number}" for number in range(len(accuracies)))


def planted(accuracies: Sequence[float], *, size: int = 400, seed: int = 1) -> list[LabelledComparison]:
    """Comparisons, two a prompt, with independent judges that vote right, in either order, with these probabilities."""
    drawn = random.Random(seed)
    labelled = []
    for number in range(size):
        outcome = float(drawn.random() < 0.5)
        verdicts = tuple(
            verdict(outcome if drawn.random() < accuracy else 1 - outcome, order, judge=judge)
            for judge, accuracy in zip(names(accuracies), accuracies, strict=True)
            for order in Order
        )
        labelled.append(LabelledComparison(f"p{number // 2:04d}", verdicts, outcome))
    return labelled


def swapped(labelled: Sequence[LabelledComparison]) -> list[LabelledComparison]:
    return [
        replace(each, verdicts=tuple(one.swap() for one in each.verdicts), outcome=1 - each.outcome)
        for each in labelled
    ]


def outcomes_of(labelled: Sequence[LabelledComparison]) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([each.outcome for each in labelled])


class TestFitPanel:
    def test_weighs_judges_by_what_they_are_worth(self) -> None:
        accuracies = (0.9, 0.7, 0.5, 0.3)
        panel = fit_panel(planted(accuracies, size=2000), judges=names(accuracies))
        assert panel.weights[0] > panel.weights[1] > abs(panel.weights[2]) + 0.3
        assert panel.weights[2] == pytest.approx(0, abs=0.3)
        assert panel.weights[3] == pytest.approx(-panel.weights[1], rel=0.3)

    def test_recovers_the_log_odds_of_one_judge(self) -> None:
        """A judge right four times in five that repeats itself: two votes together are worth log(0.8 / 0.2)."""
        labelled = [
            LabelledComparison(f"p{number}", (verdict(1.0), verdict(1.0, Order.BA)), float(number % 5 > 0))
            for number in range(1000)
        ]
        panel = fit_panel(labelled, judges=["judge_1"])
        assert panel.probability([verdict(1.0), verdict(1.0, Order.BA)]) == pytest.approx(0.8, abs=0.005)

    def test_order_of_labels_changes_nothing(self) -> None:
        labelled = planted((0.8, 0.6), size=200)
        shuffled = random.Random(3).sample(labelled, len(labelled))
        one = fit_panel(labelled, judges=names((0.8, 0.6)))
        other = fit_panel(shuffled, judges=names((0.8, 0.6)))
        assert other.weights == pytest.approx(one.weights)
        assert other.penalty == one.penalty


class TestPanel:
    PANEL = Panel(("judge_0", "judge_1"), (2.0, -1.0), 1.0)

    @given(verdict_sets(probabilities))
    def test_swapping_the_comparison_swaps_the_probability(self, verdicts: list[Verdict]) -> None:
        one = self.PANEL.probability(verdicts)
        other = self.PANEL.probability([each.swap() for each in verdicts])
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            assert other == pytest.approx(1 - one)

    def test_judge_that_contradicts_itself_says_nothing(self) -> None:
        assert self.PANEL.probability([verdict(1.0, judge="judge_0"), verdict(0.0, Order.BA, judge="judge_0")]) == 0.5

    def test_judge_with_one_order_and_one_outside_the_panel_do_not_count(self) -> None:
        alone = [verdict(1.0, judge="judge_0"), verdict(None, Order.BA, judge="judge_0")]
        stranger = [verdict(1.0, order, judge="judge_9") for order in Order]
        assert self.PANEL.probability(alone + stranger) is None

    def test_certain_judge_counts_no_more_than_a_vote(self) -> None:
        certain = [verdict(1.0, order, judge="judge_0") for order in Order]
        almost = [verdict(0.99, order, judge="judge_0") for order in Order]
        assert self.PANEL.probability(certain) == self.PANEL.probability(almost) == pytest.approx(1 / (1 + np.exp(-2)))


class TestCrossValidated:
    ACCURACIES = (0.85, 0.7, 0.4, 0.4)

    def test_beats_the_best_judge_and_means_what_it_says(self) -> None:
        labelled = planted(self.ACCURACIES, size=800)
        stacked = cross_validated(labelled, judges=names(self.ACCURACIES), rng=rng())
        right = correctness(stacked, outcomes_of(labelled))
        assert right.mean() > 0.9
        assert calibration_error(stacked, outcomes_of(labelled)) < 0.04

    def test_knows_nothing_where_there_is_nothing_to_know(self) -> None:
        """In-sample, twelve coins over 120 comparisons would look like a judge; out of fold they must not."""
        coins = (0.5,) * 12
        labelled = planted(coins, size=120)
        right = correctness(cross_validated(labelled, judges=names(coins), rng=rng()), outcomes_of(labelled))
        assert right.mean() == pytest.approx(0.5, abs=0.12)

    def test_swapping_every_comparison_swaps_every_probability(self) -> None:
        labelled = planted(self.ACCURACIES, size=120)
        one = cross_validated(labelled, judges=names(self.ACCURACIES), rng=rng())
        other = cross_validated(swapped(labelled), judges=names(self.ACCURACIES), rng=rng())
        assert other == pytest.approx(1 - one)

    def test_a_comparisons_own_label_has_no_part_in_its_probability(self) -> None:
        labelled = planted(self.ACCURACIES, size=120)
        changed = [replace(each, outcome=1 - each.outcome) if each.prompt_id == "p0007" else each for each in labelled]
        one, other = (cross_validated(rows, judges=names(self.ACCURACIES), rng=rng()) for rows in (labelled, changed))
        own = [index for index, each in enumerate(labelled) if each.prompt_id == "p0007"]
        assert len(own) == 2
        assert one[own].tolist() == other[own].tolist()
        assert one.tolist() != other.tolist()

    def test_too_few_prompts_is_an_error_that_says_what_to_do(self) -> None:
        with pytest.raises(TooFewPrompts, match="label more comparisons"):
            cross_validated(planted((0.8,), size=12), judges=["judge_0"], rng=rng())


class TestPromptFolds:
    @given(st.lists(st.sampled_from("abcdefghijkl"), min_size=1, max_size=40), st.integers(1, 6))
    @settings(max_examples=50)
    def test_keep_a_prompt_together_and_are_even(self, prompts: list[str], count: int) -> None:
        if len(set(prompts)) < count:
            with pytest.raises(TooFewPrompts):
                prompt_folds(prompts, count, rng=rng())
            return
        folds = prompt_folds(prompts, count, rng=rng())
        fold_of = dict(zip(prompts, folds.tolist(), strict=True))
        assert [fold_of[prompt] for prompt in prompts] == folds.tolist()
        sizes = np.bincount(list(fold_of.values()), minlength=count)
        assert sizes.max() - sizes.min() <= 1


class TestEffectiveVotes:
    def test_copies_are_one_vote_and_independent_judges_are_all_of_theirs(self) -> None:
        drawn = rng()
        outcomes = np.ones(4000)
        independent = (drawn.uniform(size=(4000, 4)) < 0.7).astype(np.float64)
        assert effective_votes(np.repeat(independent[:, :1], 4, axis=1), outcomes) == pytest.approx(1)
        assert effective_votes(independent, outcomes) == pytest.approx(4, rel=0.1)

    def test_by_hand(self) -> None:
        """Errors 1100 and 1010 are uncorrelated, 1100 and 1100 wholly: rho is 1/3, and 3 / (1 + 2/3) votes."""
        right = np.array([[0, 0, 0], [0, 0, 1], [1, 1, 0], [1, 1, 1]], dtype=np.float64)
        assert effective_votes(right, np.ones(4)) == pytest.approx(1.8)

    def test_never_more_votes_than_judges(self) -> None:
        opposite = np.array([[0.0, 1.0], [1.0, 0.0]])
        assert effective_votes(opposite, np.ones(2)) == 2


class TestGain:
    def test_is_paired(self) -> None:
        """One better on every fifth comparison: the interval is far narrower than that of two separate means."""
        alone = np.array([float(number % 2) for number in range(500)])
        right = np.maximum(alone, np.array([float(number % 5 == 0) for number in range(500)]))
        measured = gain(right, alone, [f"p{number:03d}" for number in range(500)], rng=rng())
        assert measured.value == pytest.approx(0.1)
        assert 0.06 < measured.low < measured.high < 0.14
