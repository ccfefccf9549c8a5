"""What the report says of rounds: which one won, why they ended, and what each policy gained for the KL it spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.rlaif.blocks import Block, Heading, Paragraph, Row, Table, with_interval
from app.rlaif.charts import Curve, Curves, Panel
from app.rlaif.frontier import FrontierPoint, RoundsOutcome


def round_blocks(frontier: Sequence[FrontierPoint], rounds: RoundsOutcome | None) -> Iterator[Block]:
    """Nothing before a policy was measured."""
    if not frontier:
        return
    yield Heading("Reward and win rate against KL")
    if rounds is not None:
        yield Paragraph(_sentence(rounds))
    head = ("round", "candidate", "KL, nats", "interval", "length ratio", "reward difference", "win rate", "interval")
    yield Table(head, tuple(_row(point) for point in frontier))
    yield from _curves(frontier)


def _sentence(rounds: RoundsOutcome) -> str:
    if rounds.ended is None:
        return f"{rounds.measured} of at most {rounds.count} rounds are measured, and the rounds have not ended."
    won = "no round is within the limits" if rounds.best_round is None else f"round {rounds.best_round} is the best"
    return f"Of {rounds.measured} rounds, at most {rounds.count}, {won}. They ended by {rounds.ended}: {rounds.detail}."


def _row(point: FrontierPoint) -> Row:
    reward = "-" if point.reward_difference is None else f"{point.reward_difference:+.3f}"
    ratio = "-" if point.length_ratio is None else f"{point.length_ratio.value:.3f}"
    return (
        str(point.round),
        str(point.candidate),
        *with_interval(point.kl),
        ratio,
        reward,
        *with_interval(point.win_rate),
    )


def _curves(frontier: Sequence[FrontierPoint]) -> Iterator[Curves]:
    """With two policies or more: the base model, at no KL, is where both begin."""
    measured = [(point.kl.value, point) for point in frontier if point.kl is not None]
    known = sorted(measured, key=lambda item: item[0])
    if len(known) < 2:
        return
    won = Curve((0.0, *(kl for kl, _ in known)), (0.5, *(point.win_rate.value for _, point in known)))
    panels = [Panel("win rate", {"over the base model": won})]
    rewarded = [(kl, point.reward_difference) for kl, point in known if point.reward_difference is not None]
    if rewarded:
        reward = Curve((0.0, *(kl for kl, _ in rewarded)), (0.0, *(each for _, each in rewarded)))
        panels.append(Panel("reward", {"difference from the base model": reward}))
    yield Curves(tuple(panels), "KL from the base model, nats a completion")
