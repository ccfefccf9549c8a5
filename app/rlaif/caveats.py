"""The reasons to doubt a run's result, found in its own figures. Thresholds are stated here and nowhere else."""

from __future__ import annotations

from collections.abc import Iterator

from app.rlaif.caveat import Caveat
from app.rlaif.critique import Outcome
from app.rlaif.evidence import EvaluationMetrics, JudgeMetrics
from app.rlaif.findings import Findings, JudgeFacts
from app.rlaif.judge_caveats import of_trust

LOW_COVERAGE = 0.95
LOW_CONSISTENCY = 0.7
STRONG_POSITION_PREFERENCE = 0.2
STRONG_LENGTH_PREFERENCE = 0.7
LONGER_ANSWERS = 1.25
FEW_PROMPTS = 50
FEW_KEPT = 0.5
STRONG_DISAGREEMENT = 0.3
OVER_OPTIMISED = 0.2
SURE = 0.05
MANY_REFUSALS = 0.5
REFUSING_COHORT = "harmlessness"
"""Where more refusals may be what was asked for."""


def caveats(findings: Findings) -> list[Caveat]:
    """Every doubt, the gravest first."""
    return [
        *_of_evaluation(findings),
        *_of_judges(findings),
        *_of_warm_start(findings),
        *_of_training(findings),
        *_of_reward_model(findings),
        *_of_preferences(findings),
    ]


def _of_evaluation(findings: Findings) -> Iterator[Caveat]:
    measured = findings.evaluation
    if measured is None:
        return
    if measured.circular:
        yield Caveat(
            code="circular_evaluation",
            detail="The judge that labelled the training data also measured the result: it rewards its own taste. "
            "Evaluate with a judge of another family.",
        )
    yield from _of_win_rate(measured)
    yield from _of_length(measured)
    yield from _of_refusals(measured)


def _of_win_rate(measured: EvaluationMetrics) -> Iterator[Caveat]:
    rate = measured.win_rate
    if rate.n_prompts < FEW_PROMPTS:
        yield Caveat(
            code="few_held_out_prompts",
            detail=f"Only {rate.n_prompts} held-out prompts were measured; below {FEW_PROMPTS} the interval is rough.",
        )
    if (control := measured.control) is not None and not control.low <= 0.5 <= control.high:
        yield Caveat(
            code="control_off_centre",
            detail=f"Base against base should be a draw but came out at {control.value:.3f}: the judge is biased.",
        )
    for cohort, figure in measured.by_cohort.items():
        if figure.high < 0.5:
            yield Caveat(
                code="cohort_regressed",
                detail=f"Cohort {cohort!r} got worse: win rate {figure.value:.3f}, interval below 0.5.",
            )
    if (reward := measured.reward) is not None and reward.win_rate - rate.value > OVER_OPTIMISED:
        yield Caveat(
            code="over_optimised",
            detail=f"The reward model prefers the policy in {reward.win_rate:.3f} of the pairs, the judge in only "
            f"{rate.value:.3f}: the policy may exploit the reward model.",
        )
    if (chosen := measured.chosen_by_reward) is not None and chosen.high < 0.5:
        yield Caveat(
            code="reward_model_misleads",
            detail="Of two base answers the evaluation judge prefers the one with the lower reward: it agrees with the "
            f"reward model's choice at a rate of {chosen.value:.3f}.",
        )
    if (share := measured.disagreement_with_training_judge) is not None and share > STRONG_DISAGREEMENT:
        yield Caveat(
            code="judges_disagree",
            detail=f"Training and evaluation judge contradict each other on {share:.1%} of the comparisons.",
        )


def _of_length(measured: EvaluationMetrics) -> Iterator[Caveat]:
    length = measured.length
    if length.base_mean_tokens > 0 and length.policy_mean_tokens > LONGER_ANSWERS * length.base_mean_tokens:
        yield Caveat(
            code="answers_grew_longer",
            detail=f"Answers grew from {length.base_mean_tokens:.1f} to {length.policy_mean_tokens:.1f} tokens: "
            "part of the win may be length.",
        )
    rate = measured.win_rate
    if (equal := rate.length_controlled) is not None and (rate.value - 0.5) * (equal.value - 0.5) < 0:
        yield Caveat(
            code="length_decides",
            detail=f"The win rate is {rate.value:.3f}, and {equal.value:.3f} at equal length: which side is ahead "
            "depends on the length of the answers.",
        )


def _of_refusals(measured: EvaluationMetrics) -> Iterator[Caveat]:
    for cohort, found in measured.refusals.items():
        if cohort != REFUSING_COHORT and found.policy_share > found.base_share and found.p_value < SURE:
            yield Caveat(
                code="over_refusal",
                detail=f"Refusals rose from {found.base_share:.1%} to {found.policy_share:.1%} of the answers of "
                f"cohort {cohort!r} (p = {found.p_value:.2g}): read some, for what nobody can know is rightly refused.",
            )


def _of_judges(findings: Findings) -> Iterator[Caveat]:
    training, evaluating = findings.judge, findings.evaluation_judge
    for facts in (training, evaluating):
        if facts is not None and facts.metrics is not None:
            yield from _of_judge(facts, facts.metrics)
    yield from of_trust(findings)


def _of_judge(facts: JudgeFacts, metrics: JudgeMetrics) -> Iterator[Caveat]:
    if metrics.coverage < LOW_COVERAGE:
        reasons = ", ".join(f"{reason.value} {count}" for reason, count in sorted(metrics.invalid.items()))
        yield Caveat(
            code="low_coverage",
            detail=f"Judge {facts.name!r} gave a valid verdict only {metrics.coverage:.1%} of the time ({reasons}).",
        )
    if metrics.position_consistency is not None and metrics.position_consistency < LOW_CONSISTENCY:
        yield Caveat(
            code="inconsistent_judge",
            detail=f"Judge {facts.name!r} agrees with itself under exchanged order in only "
            f"{metrics.position_consistency:.1%} of the comparisons.",
        )
    if abs(metrics.first_position_preference or 0.0) > STRONG_POSITION_PREFERENCE:
        yield Caveat(
            code="position_bias",
            detail=f"Judge {facts.name!r} leans to one position by {metrics.first_position_preference:+.3f}.",
        )
    if metrics.prefer_longer_share is not None and metrics.prefer_longer_share > STRONG_LENGTH_PREFERENCE:
        yield Caveat(
            code="length_bias",
            detail=f"Judge {facts.name!r} prefers the longer answer in {metrics.prefer_longer_share:.1%} of the "
            "comparisons.",
        )


def _of_training(findings: Findings) -> Iterator[Caveat]:
    """What a training's own figures said against it while it ran; docs/training.md says what each alarm means."""
    for raised in findings.alarms:
        place = f"{raised.stage}, round {raised.round}"
        if raised.candidate or findings.sweeps:
            place += f", candidate {raised.candidate}"
        yield Caveat(code=raised.alarm.value, detail=f"Training ({place}): {raised}.")


def _of_warm_start(findings: Findings) -> Iterator[Caveat]:
    found = findings.warm_start
    if found is None:
        return
    if found.examples < FEW_KEPT * found.prompts:
        reasons = ", ".join(f"{name} {count}" for name, count in sorted(found.left_out.items()))
        yield Caveat(
            code="few_examples",
            detail=f"The warm start learned from {found.examples} of {found.prompts} train prompts ({reasons}).",
        )
    if found.before is not None and found.after is not None and found.after.nll >= found.before.nll:
        yield Caveat(
            code="warm_start_unlearned",
            detail=f"Held-out answers are no likelier after the warm start ({found.after.nll:.3f} nats a token) than "
            f"before ({found.before.nll:.3f}): train longer, or bring more examples.",
        )
    refused = found.outcomes.get(Outcome.REFUSAL, 0) / max(found.prompts, 1)
    if refused > MANY_REFUSALS:
        yield Caveat(
            code="revisions_refuse",
            detail=f"{refused:.1%} of the revised answers refuse: the constitution may teach evasion. Read some, and "
            "set warm_start.refusals to 'drop' where they should not be learned.",
        )
    if findings.reward_model is not None:
        yield Caveat(
            code="reward_model_on_base_answers",
            detail="The reward model learned from the warm start's answers; its held-out figures are on the base "
            "model's, with which every evaluation compares.",
        )


def _of_reward_model(findings: Findings) -> Iterator[Caveat]:
    model = findings.reward_model
    if model is None or model.held_out_accuracy is None:
        return
    accuracy, longer = model.held_out_accuracy, model.prefer_longer_accuracy
    if accuracy.low <= 0.5:
        yield Caveat(
            code="reward_model_is_chance",
            detail=f"The reward model's held-out accuracy {accuracy.value:.3f} cannot be told from chance.",
        )
    if longer is not None and accuracy.value <= (by_length := max(longer, 1 - longer)):
        yield Caveat(
            code="reward_model_is_length",
            detail=f"Length alone decides held-out pairs as well ({by_length:.3f}) as the reward model does "
            f"({accuracy.value:.3f}).",
        )


def _of_preferences(findings: Findings) -> Iterator[Caveat]:
    figures = findings.preferences
    if figures is None or figures.comparisons_train == 0:
        return
    if figures.kept_train < FEW_KEPT * figures.comparisons_train:
        yield Caveat(
            code="few_preferences_kept",
            detail=f"Only {figures.kept_train} of {figures.comparisons_train} comparisons to train on became "
            "preferences.",
        )
