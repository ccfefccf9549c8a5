"""What a report says of rounds, and of what each policy gained for the KL it spent."""

from __future__ import annotations

from typing import Any

from app.rlaif.blocks import Heading, Paragraph, Table
from app.rlaif.charts import Curves
from app.rlaif.evidence import WinRate
from app.rlaif.frontier import FrontierPoint, RoundsOutcome
from app.rlaif.measured import Measured
from app.rlaif.round_blocks import round_blocks
from app.rlaif.rounds import EndReason

OUTCOME = RoundsOutcome(
    count=3, measured=2, best_round=0, ended=EndReason.MAXIMUM_KL, detail="round 1's policy is far away"
)


def point(round_: int, kl: float | None, win_rate: float, **changes: Any) -> FrontierPoint:
    rate = {"low": win_rate - 0.1, "high": win_rate + 0.1, "confidence": 0.95, "n_prompts": 20}
    counts = {"wins": 12, "ties": 0, "losses": 8, "length_controlled": None}
    return FrontierPoint(
        round=round_,
        candidate=0,
        checkpoint_id=f"ckpt_{round_}",
        kl=None if kl is None else Measured(value=kl, low=kl - 0.5, high=kl + 0.5, n=20),
        length_ratio=Measured(value=1.25, low=1.0, high=1.5, n=20),
        win_rate=WinRate.model_validate({"value": win_rate, **rate, **counts}),
        **{"reward_difference": 0.3, **changes},
    )


def test_nothing_is_said_before_anything_was_measured() -> None:
    assert list(round_blocks([], OUTCOME)) == []


def test_rounds_of_a_run_that_failed_have_not_ended() -> None:
    _, sentence, *_ = round_blocks(
        [point(0, 2.0, 0.6)], RoundsOutcome(count=3, measured=1, best_round=None, ended=None, detail=None)
    )
    assert sentence == Paragraph("1 of at most 3 rounds are measured, and the rounds have not ended.")


def test_a_row_a_policy_and_why_the_rounds_ended() -> None:
    heading, sentence, table, _ = round_blocks([point(0, 2.0, 0.6), point(1, 30.0, 0.7)], OUTCOME)

    assert isinstance(heading, Heading)
    assert isinstance(sentence, Paragraph)
    assert sentence.text == (
        "Of 2 rounds, at most 3, round 0 is the best. They ended by maximum_kl: round 1's policy is far away."
    )
    assert isinstance(table, Table)
    assert table.rows[0] == ("0", "0", "2.000", "1.500 to 2.500", "1.250", "+0.300", "0.600", "0.500 to 0.700")
    assert len(table.rows) == 2


def test_the_curve_begins_at_the_base_model_and_goes_by_kl() -> None:
    points = [point(0, 5.0, 0.7), point(1, 2.0, 0.6), point(2, None, 0.9, reward_difference=None)]
    *_, curves = round_blocks(points, None)

    assert isinstance(curves, Curves)
    rate, reward = (next(iter(panel.curves.values())) for panel in curves.panels)
    assert (rate.places, rate.values) == ((0.0, 2.0, 5.0), (0.5, 0.6, 0.7))
    assert reward.values == (0.0, 0.3, 0.3)


def test_what_could_not_be_measured_is_no_zero() -> None:
    _, table = round_blocks([point(0, None, 0.6, reward_difference=None)], None)

    assert isinstance(table, Table)
    assert table.rows[0][2:6] == ("-", "-", "1.250", "-")
