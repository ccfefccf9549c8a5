"""The reasons to doubt a run's judges that lie in who they are: whose family, and who has compared them with people."""

from __future__ import annotations

from collections.abc import Iterator

from app.rlaif.caveat import Caveat
from app.rlaif.findings import Findings, JudgeFacts


def of_trust(findings: Findings) -> Iterator[Caveat]:
    """Judges of one family, of the model's own family, and a panel in which everybody counts alike."""
    training, evaluating = findings.judge, findings.evaluation_judge
    circular = findings.evaluation is not None and findings.evaluation.circular
    if training is not None and evaluating is not None and not circular:
        yield from _of_one_family(training, evaluating)
    for facts in (training, evaluating):
        if facts is not None:
            yield from _own_family(facts, findings)
            yield from _equal_votes(facts)
            yield from _no_better_than_length(facts)


def _of_one_family(training: JudgeFacts, evaluating: JudgeFacts) -> Iterator[Caveat]:
    if shared := sorted({*training.families} & {*evaluating.families}):
        yield Caveat(
            code="same_family",
            detail=f"Judges {training.name!r} and {evaluating.name!r} are both of family {', '.join(shared)!r} and may "
            "share their errors.",
        )


def _own_family(facts: JudgeFacts, findings: Findings) -> Iterator[Caveat]:
    model = findings.lineage.base_model
    if model is not None and model.family in facts.families:
        yield Caveat(
            code="judges_own_family",
            detail=f"Judge {facts.name!r} and model {model.name!r} are both of family {model.family!r}: a judge tends "
            "to prefer answers of its own family. A calibration with authors measures how much.",
        )


def _equal_votes(facts: JudgeFacts) -> Iterator[Caveat]:
    if facts.kind == "panel" and facts.calibration is None:
        yield Caveat(
            code="uncalibrated_panel",
            detail=f"In panel {facts.name!r} each of {len(facts.members)} judges has an equal vote: together they may "
            "be worse than the best of them alone. Calibrate it by POST /v1/calibrations.",
        )


def _no_better_than_length(facts: JudgeFacts) -> Iterator[Caveat]:
    known = facts.calibration
    if known is None or known.accuracy is None or known.prefer_longer is None:
        return
    if known.accuracy.low <= known.prefer_longer.value:
        yield Caveat(
            code="judge_is_length",
            detail=f"Against people judge {facts.name!r} is right in {known.accuracy.value:.3f} of the comparisons "
            f"({known.accuracy.low:.3f} to {known.accuracy.high:.3f}), and preferring the longer answer in "
            f"{known.prefer_longer.value:.3f}.",
        )
