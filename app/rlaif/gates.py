"""What a recipe demands of its judge before anything is trained on its word, and what fails it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ConfigDict, Field

from app.rlaif.calibration_evidence import CalibrationReport
from app.rlaif.evidence import JudgeMetrics
from app.rlaif.measured import Measured
from app.rlaif.recipe import GatesConfig

_BETTER_JUDGE = "use a stronger judge or a panel, sharpen the rubric and calibrate again"


class GateFailure(BaseModel):
    """One gate that does not hold. `value` is None where there was nothing to measure it on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    gate: str = Field(examples=["minimum_agreement"])
    value: float | None = Field(examples=[0.61])
    limit: float = Field(examples=[0.7])
    remedy: str

    def __str__(self) -> str:
        value = "not measured" if self.value is None else f"{self.value:.3f}"
        return f"{self.gate} {self.limit:g}: {value}; {self.remedy}"


def failed_by_calibration(
    gates: GatesConfig, report: CalibrationReport, *, age_days: float, drifted: Sequence[str] | None
) -> list[GateFailure]:
    """What the calibration decides. `drifted` holds a canary's reasons, none where the judge is what it was."""
    return [
        *_agreement(gates, report),
        *_behaviour(gates, report),
        *_trust(gates, age_days=age_days, drifted=drifted or ()),
    ]


def failed_by_judging(gates: GatesConfig, metrics: JudgeMetrics | None) -> list[GateFailure]:
    """What only the run's own verdicts decide; without metrics they were never measured, and no gate holds."""
    return [
        *_at_least(
            "minimum_coverage",
            None if metrics is None else metrics.coverage,
            gates.minimum_coverage,
            "read the INVALID verdicts, mend or change the judge, and fork the run from its completions",
        ),
        *_at_least(
            "minimum_consistency",
            None if metrics is None else metrics.position_consistency,
            gates.minimum_consistency,
            "the judge contradicts itself when the order changes: change it or sharpen the rubric, and fork the run "
            "from its completions",
        ),
    ]


def explain(failures: Sequence[GateFailure]) -> str:
    """Every gate that failed, its value, its limit, and what to do."""
    return "nothing is trained: " + ". ".join(f"gates.{failure}" for failure in failures)


def _agreement(gates: GatesConfig, report: CalibrationReport) -> Iterator[GateFailure]:
    yield from _at_least(
        "minimum_agreement",
        _low(report.instrument.accuracy),
        gates.minimum_agreement,
        f"the lower end of the interval of the accuracy on people's labels is what counts: {_BETTER_JUDGE}, or label "
        "more to narrow the interval",
    )
    gain = _low(report.gain_over_longer)
    if gates.must_beat_longer is not False and (gain is None or gain <= 0):
        yield GateFailure(
            gate="must_beat_longer",
            value=gain,
            limit=0.0,
            remedy="the judge is not surely better than always preferring the longer answer, by the lower end of the "
            f"interval of its gain: {_BETTER_JUDGE}, or set gates.must_beat_longer to false",
        )
    if gates.maximum_ece is not None:
        yield from _at_most(
            "maximum_ece",
            None if report.instrument.ece is None else report.instrument.ece.value,
            gates.maximum_ece,
            "its probabilities do not mean what they say: label more, or use a judge that gives log-probabilities",
        )


def _behaviour(gates: GatesConfig, report: CalibrationReport) -> Iterator[GateFailure]:
    consistency, coverage = report.position_consistency, report.instrument.coverage
    yield from _at_least(
        "minimum_consistency",
        None if consistency is None else consistency.value,
        gates.minimum_consistency,
        f"the judge contradicts itself when the order changes: {_BETTER_JUDGE}",
    )
    yield from _at_least(
        "minimum_coverage",
        None if coverage is None else coverage.value,
        gates.minimum_coverage,
        "too many comparisons are left without an answer: read the calibration's INVALID verdicts and mend the judge",
    )
    yield from _at_least(
        "minimum_effective_votes",
        1.0 if report.panel is None else report.panel.effective_votes,
        gates.minimum_effective_votes,
        "the judges err together: add one of another family",
    )


def _trust(gates: GatesConfig, *, age_days: float, drifted: Sequence[str]) -> Iterator[GateFailure]:
    limit = gates.maximum_calibration_age_days
    if limit is not None:
        yield from _at_most(
            "maximum_calibration_age_days", age_days, limit, "calibrate again by POST /v1/calibrations, and name that"
        )
    if gates.refuse_on_drift and drifted:
        yield GateFailure(
            gate="refuse_on_drift",
            value=1.0,
            limit=0.0,
            remedy=f"a canary says that the judge has changed ({'; '.join(drifted)}): calibrate it again, name that",
        )


def _at_least(gate: str, value: float | None, limit: float | None, remedy: str) -> Iterator[GateFailure]:
    if limit is not None and (value is None or value < limit):
        yield GateFailure(gate=gate, value=value, limit=limit, remedy=remedy)


def _at_most(gate: str, value: float | None, limit: float, remedy: str) -> Iterator[GateFailure]:
    if value is None or value > limit:
        yield GateFailure(gate=gate, value=value, limit=limit, remedy=remedy)


def _low(figure: Measured | None) -> float | None:
    return None if figure is None else figure.low
