"""The reasons to doubt a calibrated judge, found in its own figures. Thresholds are stated here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator

from app.rlaif.calibration_evidence import CalibrationReport, JudgeFigures
from app.rlaif.caveat import Caveat

FEW_LABELS = 200
LOW_COVERAGE = 0.95
LOW_CONSISTENCY = 0.7
STRONG_LENGTH_BIAS = 0.1
STRONG_POSITION_PREFERENCE = 0.2
FEW_VOTES = 1.5
BADLY_CALIBRATED = 0.05


def caveats(report: CalibrationReport) -> Iterator[Caveat]:
    """Every doubt, the gravest first."""
    yield from _of_agreement(report)
    yield from _of_panel(report)
    yield from _of_cascade(report)
    for judge in report.judges:
        yield from _of_judge(judge)
    if report.labels.comparisons < FEW_LABELS:
        yield Caveat(
            code="few_labels",
            detail=f"Only {report.labels.comparisons} comparisons are labelled; 200 to 500 give usable intervals.",
        )


def _of_agreement(report: CalibrationReport) -> Iterator[Caveat]:
    accuracy, gain, ece = report.instrument.accuracy, report.gain_over_longer, report.instrument.ece
    if accuracy is not None and accuracy.low <= 0.5:
        yield Caveat(
            code="judge_is_chance",
            detail=f"Accuracy {accuracy.value:.3f} ({accuracy.low:.3f}..{accuracy.high:.3f}) may be chance.",
        )
    if gain is not None and gain.low <= 0:
        yield Caveat(
            code="judge_is_length",
            detail=f"Preferring the longer answer does as well: the judge gains {gain.value:+.3f} "
            f"({gain.low:+.3f}..{gain.high:+.3f}) on it.",
        )
    if ece is not None and ece.value > BADLY_CALIBRATED:
        yield Caveat(
            code="badly_calibrated",
            detail=f"Even calibrated its probabilities are off by {ece.value:.3f} on average.",
        )


def _of_panel(report: CalibrationReport) -> Iterator[Caveat]:
    if (panel := report.panel) is None:
        return
    if panel.gain_over_best is not None and panel.gain_over_best.low <= 0:
        yield Caveat(
            code="panel_gains_nothing",
            detail=f"The panel gains {panel.gain_over_best.value:+.3f} ({panel.gain_over_best.low:+.3f}.."
            f"{panel.gain_over_best.high:+.3f}) on its best member alone: that one may do.",
        )
    if panel.effective_votes < FEW_VOTES:
        yield Caveat(
            code="judges_err_together",
            detail=f"{len(panel.weights)} judges are worth {panel.effective_votes:.2f} independent ones: their errors "
            "coincide.",
        )


def _of_cascade(report: CalibrationReport) -> Iterator[Caveat]:
    if report.cascade is None:
        return
    for step in report.cascade.steps:
        if step.threshold is None:
            yield Caveat(
                code="step_decides_nothing",
                detail=f"At no confidence is judge {step.judge_id!r} surely wrong less often than "
                f"{report.cascade.maximum_risk:.1%}: all is passed on. Allow more risk, label more, or leave it out.",
            )


def _of_judge(judge: JudgeFigures) -> Iterator[Caveat]:
    coverage, consistency = judge.stated.coverage, judge.position_consistency
    if coverage is not None and coverage.value < LOW_COVERAGE:
        yield Caveat(
            code="low_coverage",
            detail=f"Judge {judge.name!r} answers only {coverage.value:.1%} of the comparisons in both orders.",
        )
    if consistency is not None and consistency.value < LOW_CONSISTENCY:
        yield Caveat(
            code="inconsistent_judge",
            detail=f"Judge {judge.name!r} keeps to its side under exchanged order in only {consistency.value:.1%}.",
        )
    if (first := judge.first_position_preference) is not None and abs(first.value) > STRONG_POSITION_PREFERENCE:
        yield Caveat(code="position_bias", detail=f"Judge {judge.name!r} leans to one position by {first.value:+.3f}.")
    if (length := judge.length_bias) is not None and length.value > STRONG_LENGTH_BIAS and length.low > 0:
        yield Caveat(
            code="length_bias",
            detail=f"Judge {judge.name!r} prefers the longer answer {length.value:.1%} more often than people do.",
        )
    if (own := judge.self_preference) is not None and own.low > 0:
        yield Caveat(
            code="self_preference",
            detail=f"Judge {judge.name!r} favours answers of its own family {judge.family!r} by {own.value:+.3f}.",
        )
