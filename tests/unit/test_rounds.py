"""When rounds end, and which of them wins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.evidence import Promotion, Reason
from app.rlaif.rounds import (
    EVEN,
    EndReason,
    Going,
    RoundFigures,
    RoundsConfig,
    Stopped,
    best_round,
    beyond,
    decide,
    promotions,
)

OPEN = Promotion(promoted=True, reasons=[])

shares = st.floats(0, 1)
limits = st.none() | st.floats(0.01, 100)
configs = st.builds(
    RoundsConfig,
    count=st.integers(2, 20),
    minimum_improvement=shares,
    maximum_kl=limits,
    maximum_length_ratio=st.none() | st.floats(1, 100),
)
figures = st.lists(
    st.tuples(shares, st.none() | st.floats(-1, 200), st.none() | st.floats(0.1, 200)), min_size=1, max_size=20
).map(lambda found: [RoundFigures(place, *each) for place, each in enumerate(found)])


def rounds(*win_rates: float) -> list[RoundFigures]:
    return [RoundFigures(place, rate, kl=1.0, length_ratio=1.0) for place, rate in enumerate(win_rates)]


class TestDecide:
    @pytest.mark.parametrize(
        ("win_rates", "expected"),
        [
            ((0.6,), None),
            ((0.5,), EndReason.NO_IMPROVEMENT),  # no better than the base model itself
            ((0.6, 0.7), None),
            ((0.6, 0.6), EndReason.NO_IMPROVEMENT),
            ((0.7, 0.6), EndReason.NO_IMPROVEMENT),
            ((0.6, 0.7, 0.8), EndReason.COUNT_REACHED),
            ((0.8, 0.6, 0.7), EndReason.NO_IMPROVEMENT),  # better than the one before, and not than the best
        ],
    )
    def test_stops_where_the_win_rate_no_longer_improves(
        self, win_rates: tuple[float, ...], expected: EndReason | None
    ) -> None:
        decision = decide(RoundsConfig(count=3), rounds(*win_rates))

        assert (decision.reason if isinstance(decision, Stopped) else None) == expected

    def test_the_improvement_must_be_as_large_as_asked(self) -> None:
        config = RoundsConfig(count=5, minimum_improvement=0.05)

        assert isinstance(decide(config, rounds(0.6, 0.66)), Going)
        assert isinstance(decide(config, rounds(0.6, 0.64)), Stopped)

    @pytest.mark.parametrize(
        ("kl", "length_ratio", "expected"),
        [
            (11.0, 1.0, EndReason.MAXIMUM_KL),
            (None, 1.0, EndReason.MAXIMUM_KL),  # what could not be measured is not within a limit
            (1.0, 2.1, EndReason.MAXIMUM_LENGTH_RATIO),
            (1.0, None, EndReason.MAXIMUM_LENGTH_RATIO),
            (11.0, 2.1, EndReason.MAXIMUM_KL),
            (10.0, 2.0, None),
        ],
    )
    def test_stops_beyond_a_limit(
        self, kl: float | None, length_ratio: float | None, expected: EndReason | None
    ) -> None:
        config = RoundsConfig(count=3, maximum_kl=10.0, maximum_length_ratio=2.0)

        decision = decide(config, [RoundFigures(0, 0.9, kl, length_ratio)])

        assert (decision.reason if isinstance(decision, Stopped) else None) == expected

    def test_says_the_figure_and_the_setting(self) -> None:
        config = RoundsConfig(count=3, maximum_kl=10.0)

        decision = decide(config, [RoundFigures(1, 0.9, kl=12.5, length_ratio=None)])

        assert decision == Stopped(
            EndReason.MAXIMUM_KL,
            "round 1's policy is 12.500 nats a completion from the base model; rounds.maximum_kl is 10",
        )

    @given(configs, figures)
    def test_going_on_means_within_limits_better_than_all_before_and_not_the_last(
        self, config: RoundsConfig, found: list[RoundFigures]
    ) -> None:
        before, last = found[:-1], found[-1]
        best = max([EVEN, *(each.win_rate for each in before)])
        may_go_on = (
            beyond(config, last) is None
            and last.win_rate > best + config.minimum_improvement
            and len(found) < config.count
        )

        assert isinstance(decide(config, found), Going) == may_go_on

    @given(configs, figures)
    def test_a_run_of_rounds_that_all_went_on_ends_with_its_best(
        self, config: RoundsConfig, found: list[RoundFigures]
    ) -> None:
        played = next(
            (found[: end + 1] for end in range(len(found)) if isinstance(decide(config, found[: end + 1]), Stopped)),
            found,
        )
        best = best_round(config, played)

        assert len(played) <= config.count
        if best is not None:
            assert best.round >= len(played) - 2  # the last, or the one before it, which the last did not beat


class TestPromotions:
    @given(configs, figures)
    def test_at_most_one_is_promoted_and_it_is_the_best(self, config: RoundsConfig, found: list[RoundFigures]) -> None:
        decided = promotions(config, found, {each.round: OPEN for each in found})

        best = best_round(config, found)
        assert [round_ for round_, each in decided.items() if each.promoted] == ([] if best is None else [best.round])
        assert all(each.reasons for each in decided.values() if not each.promoted)

    def test_a_worse_round_is_told_of_the_better_one(self) -> None:
        decided = promotions(RoundsConfig(count=3), rounds(0.7, 0.6), {0: OPEN, 1: OPEN})

        assert decided[0] == OPEN
        detail = "round 0 is better: it wins 0.700 against the base model, and this one 0.600"
        assert decided[1].reasons == [Reason(gate="best_round", held=False, detail=detail)]

    def test_what_exceeds_a_limit_loses_to_a_lower_win_rate(self) -> None:
        config = RoundsConfig(count=3, maximum_kl=10.0)
        found = [RoundFigures(0, 0.6, 5.0, 1.0), RoundFigures(1, 0.9, 50.0, 1.0)]

        decided = promotions(config, found, {0: OPEN, 1: OPEN})

        assert (decided[0].promoted, decided[1].promoted) == (True, False)
        assert decided[1].reasons[0].gate == "rounds.maximum_kl"

    def test_a_round_that_holds_its_gates_goes_before_one_that_wins_more(self) -> None:
        failed = Promotion(promoted=False, reasons=[Reason(gate="minimum_win_rate", held=False, detail="0.4")])
        found = [RoundFigures(0, 0.6, 1.0, 1.0), RoundFigures(1, 0.7, 1.0, 1.0, gates_hold=False)]

        decided = promotions(RoundsConfig(count=2), found, {0: OPEN, 1: failed})

        assert (decided[0], decided[1].promoted) == (OPEN, False)
        assert "round 0 is better: it holds every gate, and wins 0.600" in decided[1].reasons[-1].detail

    def test_where_no_round_holds_its_gates_none_is_promoted(self) -> None:
        failed = Promotion(promoted=False, reasons=[Reason(gate="minimum_win_rate", held=False, detail="0.4")])
        found = [RoundFigures(round_, 0.6, 1.0, 1.0, gates_hold=False) for round_ in range(2)]

        decided = promotions(RoundsConfig(count=2), found, dict.fromkeys(range(2), failed))

        assert decided[0] == failed
        assert not decided[1].promoted
