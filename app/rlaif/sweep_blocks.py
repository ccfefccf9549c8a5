"""What the report says of a sweep: every candidate, the one that was selected, and why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from app.rlaif.blocks import Block, Figure, Heading, Paragraph, Row, Table, with_interval
from app.rlaif.charts import Interval, Intervals
from app.rlaif.findings import Sweep
from app.rlaif.selection import GUARDED_COHORTS, Standing

HEAD = (
    "candidate",
    "settings",
    "win rate",
    "interval",
    "at equal length",
    *GUARDED_COHORTS,
    "reward",
    "KL",
    "tokens",
    "gates",
    "outcome",
)


def sweep_blocks(sweeps: Sequence[Sweep]) -> Iterator[Block]:
    for sweep in sweeps:
        yield Heading("Sweep" if len(sweeps) == 1 else f"Sweep, round {sweep.round}")
        yield Paragraph(sweep.reason)
        yield _forest(sweep)
        yield Table(HEAD, tuple(_candidate(one, sweep) for one in sweep.candidates))
        if rows := [row for one in sweep.candidates for row in _failed(one)]:
            yield Table(("candidate", "gate", "why it failed"), tuple(rows))


def _forest(sweep: Sweep) -> Intervals:
    rows = (
        Interval(f"candidate {one.candidate}", one.win_rate.value, one.win_rate.low, one.win_rate.high)
        for one in sweep.candidates
        if one.win_rate is not None
    )
    return Intervals(tuple(rows), 0.5, "win rate over the base model")


def _candidate(one: Standing, sweep: Sweep) -> Row:
    rate = one.win_rate
    gone = one.divergence
    return (
        str(one.candidate),
        ", ".join(f"{name} {json.dumps(value)}" for name, value in one.settings.items()),
        *with_interval(rate),
        _value(rate.length_controlled if rate else None),
        *(_value(one.by_cohort.get(cohort)) for cohort in GUARDED_COHORTS),
        "-" if one.reward is None else f"{one.reward.difference:+.3f}",
        _value(gone.kl if gone else None),
        "-" if one.length is None else f"{one.length.policy_mean_tokens:.1f}",
        "hold" if one.holds else "failed",
        _outcome(one, sweep),
    )


def _value(figure: Figure | None) -> str:
    return with_interval(figure)[0]


def _outcome(one: Standing, sweep: Sweep) -> str:
    if one.candidate != sweep.selected:
        return "not selected" if one.win_rate else "not measured"
    return "selected, gates hold" if sweep.promoted else "selected, held back"


def _failed(one: Standing) -> Iterator[Row]:
    for reason in one.reasons:
        if not reason.held:
            yield (str(one.candidate), reason.gate, reason.detail)
