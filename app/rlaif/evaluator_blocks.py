"""What the report says of evaluators: points before and after, by cohort, and who rated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from app.rlaif.blocks import Block, Heading, Paragraph, Row, Table, share
from app.rlaif.evaluator import EvaluatorFigure, EvaluatorResult

_HEAD = ("evaluator", "cohort", "base", "policy", "difference", "interval", "base below", "policy below", "pairs")


def evaluator_blocks(evaluators: Mapping[str, EvaluatorResult]) -> Iterator[Block]:
    if not evaluators:
        return
    yield Heading("Evaluators")
    yield Paragraph(
        "Points from 1 to 10, more is better; below is the share of answers under the evaluator's threshold."
    )
    rows = []
    for name, found in sorted(evaluators.items()):
        figures = {"all": found.overall, **dict(sorted(found.by_cohort.items()))}
        rows += [_row(name, cohort, figure) for cohort, figure in figures.items() if figure is not None]
    yield Table(_HEAD, tuple(rows))
    about = ("evaluator", "version", "rubric", "judge", "threshold", "coverage", "left out")
    yield Table(about, tuple(_about(name, found) for name, found in sorted(evaluators.items())))


def _row(name: str, cohort: str, figure: EvaluatorFigure) -> Row:
    change = figure.difference
    return (
        name,
        cohort,
        f"{figure.base:.2f}",
        f"{figure.policy:.2f}",
        f"{change.value:+.2f}",
        f"{change.low:+.2f} to {change.high:+.2f}",
        share(figure.base_below),
        share(figure.policy_below),
        str(figure.n),
    )


def _about(name: str, found: EvaluatorResult) -> Row:
    version = f"built in, {found.version}" if found.version else "own"
    return (
        name,
        version,
        found.rubric_hash[:12],
        found.judge_id,
        f"{found.threshold:g}",
        share(found.coverage),
        str(found.left_out),
    )
