"""A calibration's report for a person: as Markdown, and as text for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from app.rlaif.blocks import Heading, Items, Paragraph, Row, Table, Words, with_interval
from app.rlaif.calibration_evidence import Agreement, CalibrationReport, JudgeFigures, Labels
from app.rlaif.measured import Measured
from app.rlaif.report_text import markdown_of, text_of


def as_markdown(report: CalibrationReport) -> str:
    """GitHub-flavoured Markdown, ending in one newline."""
    return markdown_of(_blocks(report))


def as_text(report: CalibrationReport) -> str:
    """Plain text with aligned columns, ending in one newline."""
    return text_of(_blocks(report))


def _blocks(report: CalibrationReport) -> Iterator[Words]:
    yield Heading(f"Calibration: {report.judge_name}", 1)
    yield Paragraph(
        f"{report.judge_kind} {report.judge_id} of family {report.judge_family}, by rubric revision "
        f"{report.rubric_revision_id}, on {report.labels.comparisons} comparisons of {report.prompt_set_id} that "
        f"people labelled. Measured {report.measured_at:%Y-%m-%d %H:%M} UTC. Intervals are of 95 %, by a bootstrap "
        f"over prompts; what is fitted is measured on prompts that it was not fitted to, in {report.folds} folds."
    )
    if report.caveats:
        yield Heading("Caveats")
        yield Items(tuple(f"{caveat.code}: {caveat.detail}" for caveat in report.caveats))
    yield Heading("Agreement with people")
    yield Table(("figure", "value", "interval", "n"), tuple(_agreement(report)))
    yield from _people(report.labels)
    yield from _judges(report)
    yield from _panel(report)
    yield from _cascade(report)
    yield from _curves(report)


def _agreement(report: CalibrationReport) -> Iterator[Row]:
    figures = report.instrument
    yield _row("accuracy, of what people decided", figures.accuracy)
    yield ("chance", "0.500", "-", "-")
    yield _row("preferring the longer one, same comparisons", report.prefer_longer)
    yield _row("accuracy over preferring the longer one", report.gain_over_longer, signed=True)
    yield _row("three-way accuracy, ties an answer", figures.three_way_accuracy)
    yield _row("Cohen's kappa", figures.kappa)
    yield _row("Brier score", figures.brier)
    yield _row("expected calibration error", figures.ece)
    yield _row("coverage", figures.coverage)
    yield _row("position consistency", report.position_consistency)


def _people(labels: Labels) -> Iterator[Words]:
    yield Heading("People")
    yield Paragraph(
        f"{labels.comparisons} comparisons of {labels.prompts} prompts, {labels.ties} of them ties; {labels.unsettled} "
        f"more on which people are divided; {labels.several} answered by two people or more."
    )
    if labels.several:
        rows = (
            _row("Krippendorff's alpha", labels.alpha),
            _row("Cohen's kappa, pairs of people", labels.kappa),
            _row("one against the others: the ceiling", labels.one_against_others),
        )
        yield Table(("figure", "value", "interval", "n"), rows)


def _judges(report: CalibrationReport) -> Iterator[Words]:
    yield Heading("Each judge")
    head = ("judge", "family", "accuracy", "kappa", "coverage", "consistent", "first", "length", "self", "ECE", "after")
    yield Table(head, tuple(_judge(judge) for judge in report.judges))
    missing = [
        f"{judge.name}: " + ", ".join(f"{reason.value} {rate.value:.1%}" for reason, rate in judge.invalid.items())
        for judge in report.judges
        if judge.invalid
    ]
    if missing:
        yield Paragraph("Missing answers, of all that were asked:")
        yield Items(tuple(missing))


def _judge(judge: JudgeFigures) -> Row:
    return (
        judge.name,
        judge.family,
        _in_words(judge.stated.accuracy),
        _value(judge.stated.kappa),
        _value(judge.stated.coverage),
        _value(judge.position_consistency),
        _value(judge.first_position_preference, signed=True),
        _value(judge.length_bias, signed=True),
        _value(judge.self_preference, signed=True),
        _value(judge.stated.ece),
        f"{_value(judge.calibrated.ece)} ({judge.map})",
    )


def _panel(report: CalibrationReport) -> Iterator[Words]:
    if (panel := report.panel) is None:
        return
    names = {judge.judge_id: judge.name for judge in report.judges}
    yield Heading("Panel")
    yield Paragraph(
        f"{len(panel.weights)} judges are worth {panel.effective_votes:.2f} independent ones. With equal votes they "
        f"are right {_value(panel.equal_votes_accuracy)} of the time; weighted they gain "
        f"{_in_words(panel.gain_over_best, signed=True)} on the best of them, {names[panel.best_judge]}."
    )
    yield Table(("judge", "weight"), tuple((names[id_], f"{weight:+.2f}") for id_, weight in panel.weights.items()))


def _cascade(report: CalibrationReport) -> Iterator[Words]:
    if (cascade := report.cascade) is None:
        return
    names = {judge.judge_id: judge.name for judge in report.judges}
    yield Heading("Cascade")
    yield Paragraph(
        f"At most {cascade.maximum_risk:.1%} of what a step decides is to be against people's label, with confidence "
        f"{cascade.confidence:.0%} for all steps at once. {cascade.undecided:.1%} stay undecided."
    )
    rows = tuple(
        (
            names[step.judge_id],
            "-" if step.threshold is None else f"{step.threshold:.3f}",
            f"{step.decided:.1%}",
            "-" if step.risk_bound is None else f"{step.risk_bound:.1%}",
        )
        for step in cascade.steps
    )
    yield Table(("step", "threshold", "decides", "risk at most"), rows)


def _curves(report: CalibrationReport) -> Iterator[Words]:
    yield Heading("Reliability")
    judges = report.judges if len(report.judges) == 1 else ()
    for judge in judges:
        yield Paragraph("As the judge states it:")
        yield _curve(judge.stated)
    yield Paragraph("As it is read, out of fold:")
    yield _curve(report.instrument)
    yield Heading("Accuracy at coverage")
    rows = tuple(
        (f"{at.coverage:.1%}", f"{at.confidence:.3f}", f"{at.accuracy:.3f}", str(at.n)) for at in report.at_coverage
    )
    yield Table(("the surest", "confidence from", "accuracy", "n"), rows)


def _curve(agreement: Agreement) -> Table:
    rows = tuple(
        (f"{each.low:.2f} to {each.high:.2f}", f"{each.confidence:.3f}", f"{each.accuracy:.3f}", str(each.count))
        for each in agreement.curve
    )
    return Table(("confidence", "mean", "accuracy", "n"), rows)


def _row(name: str, figure: Measured | None, *, signed: bool = False) -> Row:
    return (name, *with_interval(figure, signed=signed), "-" if figure is None else str(figure.n))


def _in_words(figure: Measured | None, *, signed: bool = False) -> str:
    value, interval = with_interval(figure, signed=signed)
    return value if figure is None else f"{value} ({interval})"


def _value(figure: Measured | None, *, signed: bool = False) -> str:
    return with_interval(figure, signed=signed)[0]
