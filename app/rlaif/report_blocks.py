"""What a report says, block by block and in order; how it looks is a renderer's business."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from app.rlaif.blocks import Block, Heading, Items, Paragraph, Quote, Row, Table, share, with_interval
from app.rlaif.charts import Bars, Curve, Curves, Panel
from app.rlaif.evaluation_blocks import evaluation_blocks
from app.rlaif.evidence import EnsembleMetrics, Example
from app.rlaif.findings import JudgeFacts, Lineage, TrainingCurves
from app.rlaif.pair_figures import PairQuality, PromptsTooLong
from app.rlaif.report import Report
from app.rlaif.sweep_blocks import sweep_blocks
from app.rlaif.trajectory_blocks import trajectory_blocks
from app.rlaif.usage import Usage
from app.rlaif.warm_start_blocks import warm_start_blocks

PANELS = {
    "loss": ("loss", "preference_loss", "sft_loss"),
    "log-probability": ("chosen_logp", "rejected_logp"),
    "implicit reward": ("chosen_reward", "rejected_reward"),
    "reward": ("reward", "mean_reward", "held_out_judge"),
    "margin": ("margin",),
    "accuracy": ("accuracy",),
    "KL": ("reference_kl", "kl"),
    "tokens a completion": ("completion_tokens",),
}
"""Which training figures are drawn together, where a stage has them."""


def blocks(report: Report) -> Iterator[Block]:
    """The whole report; nothing in a block is escaped."""
    yield Heading(f"Report: {report.run.name}", 1)
    yield Paragraph(report.headline.sentence)
    yield Paragraph(f"Run {report.run.id}, {report.run.status}, seed {report.run.seed}.")
    if report.caveats:
        yield Heading("Caveats")
        yield Items(tuple(f"{caveat.code}: {caveat.detail}" for caveat in report.caveats))
    yield from evaluation_blocks(report)
    yield from trajectory_blocks(report.trajectories)
    yield from sweep_blocks(report.sweeps)
    yield from _judges(report)
    yield from warm_start_blocks(report.warm_start)
    yield from _pairs(report)
    yield from _training(report)
    yield from _examples(report.examples)
    yield from _usage(report)
    yield Heading("Lineage")
    yield Table(("what", "name", "digest"), tuple(_lineage(report.lineage)))
    yield Heading("Again")
    yield Quote("the same run, its checkpoints, every verdict", "\n".join(report.reproduce))


def _curves(curves: Sequence[TrainingCurves]) -> Iterator[Block]:
    several = any(stage.candidate for stage in curves)
    for stage in curves:
        panels = (Panel(title, _named(stage, names)) for title, names in PANELS.items())
        of_sweep = f", candidate {stage.candidate}" if several else ""
        yield Paragraph(f"{stage.stage.value}, round {stage.round}{of_sweep}: {stage.steps[-1]} steps")
        yield Curves(tuple(panel for panel in panels if panel.curves), "step")
        yield from _reward_by_kl(stage)


def _reward_by_kl(stage: TrainingCurves) -> Iterator[Curves]:
    """Of a policy trained on its own answers: what it gained in reward for how far it went (arXiv 2210.10760)."""
    pairs = zip(stage.figures.get("kl", ()), stage.figures.get("reward", ()), strict=False)
    measured = [(kl, reward) for kl, reward in pairs if kl is not None and reward is not None]
    if len(measured) > 1:
        gained = Curve(tuple(kl for kl, _ in measured), tuple(reward for _, reward in measured))
        yield Curves((Panel("reward", {"step by step": gained}),), "KL from the start model, nats a completion")


def _named(stage: TrainingCurves, names: Sequence[str]) -> dict[str, Curve]:
    return {name: _curve(stage.steps, stage.figures[name]) for name in names if name in stage.figures}


def _curve(steps: Sequence[int], values: Sequence[float | None]) -> Curve:
    measured = [(float(step), value) for step, value in zip(steps, values, strict=True) if value is not None]
    return Curve(tuple(step for step, _ in measured), tuple(value for _, value in measured))


def _judges(report: Report) -> Iterator[Block]:
    judged = (("training", report.judge), ("evaluation", report.evaluation_judge))
    rows = [_judge(role, facts) for role, facts in judged if facts is not None]
    if not rows:
        return
    yield Heading("Judges")
    head = ("role", "judge", "family", "verdicts", "coverage", "invalid", "consistency", "first position")
    yield Table(head, tuple(rows))
    calibrated = [_calibrated(role, facts) for role, facts in judged if facts is not None]
    if people := [row for row in calibrated if row is not None]:
        yield Paragraph("Against people, by the calibration that the judge is read with:")
        yield Table(
            ("role", "judge", "accuracy", "interval", "prefer longer", "ECE", "labels", "calibration"), tuple(people)
        )
    yield from _reliability([facts for _, facts in judged if facts is not None])
    if (disagreement := report.disagreement_with_training_judge) is not None:
        yield Paragraph(
            f"The two judges contradict each other on {disagreement:.1%} of the comparisons that both decide."
        )


def _reliability(judges: Sequence[JudgeFacts]) -> Iterator[Curves]:
    """How often a judge is right, by how sure it is; on the diagonal it says how sure one may be."""
    known = [(facts.name, facts.calibration.curve) for facts in judges if facts.calibration is not None]
    measured = {
        name: Curve(tuple(each.confidence for each in curve), tuple(each.accuracy for each in curve))
        for name, curve in known
        if curve
    }
    if measured:
        diagonal = Curve((0.5, 1.0), (0.5, 1.0))
        yield Curves((Panel("judge against people: accuracy", {**measured, "calibrated": diagonal}),), "confidence")


def _calibrated(role: str, facts: JudgeFacts) -> Row | None:
    if (known := facts.calibration) is None:
        return None
    (longer, _), (ece, _) = with_interval(known.prefer_longer), with_interval(known.ece)
    return (role, facts.name, *with_interval(known.accuracy), longer, ece, str(known.comparisons), known.id)


def _judge(role: str, facts: JudgeFacts) -> Row:
    if (metrics := facts.metrics) is None:
        return (role, facts.name, facts.family, *["-"] * 5)
    invalid = ", ".join(f"{reason.value} {count}" for reason, count in sorted(metrics.invalid.items())) or "none"
    return (
        role,
        facts.name,
        facts.family,
        str(metrics.verdicts),
        f"{metrics.coverage:.3f}",
        invalid,
        share(metrics.position_consistency),
        "-" if metrics.first_position_preference is None else f"{metrics.first_position_preference:+.3f}",
    )


def _pairs(report: Report) -> Iterator[Block]:
    rows = [*_prompts_too_long(report.prompts_too_long), *_pair_figures(report.pairs)]
    if not rows:
        return
    yield Heading("Pairs to train on")
    yield Table(("figure", "value"), tuple(rows))
    if report.pairs is None:
        return
    head = ("cohort", "pairs", "kept", "first better", "second better", "ties")
    cohorts = report.pairs.cohorts.items()
    yield Table(head, tuple((name, *(str(count) for count in each.model_dump().values())) for name, each in cohorts))
    if report.pairs.warnings:
        yield Items(tuple(f"{each.code}: {each.detail} {each.remedy}" for each in report.pairs.warnings))


def _prompts_too_long(found: PromptsTooLong | None) -> Iterator[Row]:
    if found is None:
        return
    named = f" ({', '.join(found.named)})" if found.named else ""
    if found.window is not None:
        yield ("prompts beyond the model's window, not sampled", f"{found.window}{named}")
    if found.max_length is not None:
        yield ("prompts beyond max_length, not trained on", f"{found.max_length}{named}")


def _pair_figures(pairs: PairQuality | None) -> Iterator[Row]:
    if pairs is None:
        return
    yield ("repeated pairs", str(pairs.duplicates.pairs))
    yield ("prompts with the text of another", str(pairs.duplicates.prompts))
    yield ("completions of more than one prompt", str(pairs.duplicates.completions))
    yield ("inconsistent under exchanged order", share(pairs.inconsistent))
    yield ("ties among kept pairs", share(pairs.ties))
    yield ("kept pairs by margin, 0 to 1 in tenths", " ".join(map(str, pairs.margins)))
    if (length := pairs.length) is not None:
        yield ("preferred is the longer", share(length.preferred_longer))
        yield ("preferred less other, characters", f"{length.mean_difference:+.1f}")
        yield ("length alone, AUC", f"{length.auc:.3f}")
    if (surface := pairs.surface) is not None:
        yield ("surface alone, accuracy", f"{surface.accuracy:.3f} on {surface.sampled_pairs} pairs")
        yield ("trivially separable", f"{surface.separable:.3f} ({', '.join(surface.strongest)})")


def _training(report: Report) -> Iterator[Block]:
    rows: list[Row] = []
    if (figures := report.preferences) is not None:
        rows.append(("comparisons", str(figures.comparisons)))
        rows.append(("preferences kept", f"{figures.kept} ({figures.ties} ties)"))
        rows.append(("to train on", f"{figures.kept_train} of {figures.comparisons_train} comparisons"))
        rows += [(f"dropped: {reason}", str(count)) for reason, count in sorted(figures.dropped.items())]
    if (model := report.reward_model) is not None:
        left_out = f"{model.identical_pairs} identical and {model.overlong_prompts} overlong left out"
        rows.append(("reward model, pairs", f"{model.train_pairs} ({model.truncated_pairs} cut; {left_out})"))
        held_out = f"{model.held_out_pairs} ({model.held_out_left_out} left out)"
        rows.append(("reward model, held-out pairs", held_out))
        if (accuracy := model.held_out_accuracy) is not None:
            interval = f"{accuracy.low:.3f} to {accuracy.high:.3f}, n = {accuracy.n}"
            rows.append(("reward model, held-out accuracy", f"{accuracy.value:.3f} ({interval})"))
        rows.append(("the same pairs, longer preferred", share(model.prefer_longer_accuracy)))
        rows.append(("reward model, shorter is right", share(model.shorter_right_accuracy)))
        rows.append(("reward model, calibration error", share(model.ece)))
        rows.append(("reward and length, correlation", share(model.length_correlation)))
        rows += _ensemble(model.ensemble) if model.ensemble is not None else ()
    if rows:
        yield Heading("Preferences and reward model")
        yield Table(("figure", "value"), tuple(rows))
    if report.curves:
        yield Heading("Training")
        yield from _curves(report.curves)


def _ensemble(found: EnsembleMetrics) -> Iterator[Row]:
    """How far its members part: where they do, the reward is a guess."""
    alone = ", ".join(f"{accuracy:.3f}" for accuracy in found.member_accuracies)
    yield ("reward model, members' accuracies", f"{alone} ({found.members} members)")
    yield ("held-out pairs on which they part", share(found.disagreement))
    deviation = "-" if found.margin_deviation is None else f"{found.margin_deviation:.3f}"
    yield ("deviation of their margins", deviation)


def _examples(examples: Sequence[Example]) -> Iterator[Block]:
    if examples:
        yield Heading("Before and after")
    for example in examples:
        yield Quote(f"prompt ({example.cohort})", "\n".join(_turn(message) for message in example.prompt))
        yield Quote("base", example.base)
        believed = "no valid verdict" if example.probability is None else f"P(better) {example.probability:.2f}"
        yield Quote(f"policy, {believed}", example.policy)


def _turn(message: dict[str, Any]) -> str:
    return f"{message.get('role', '?')}: {message.get('content') or ''}"


def _usage(report: Report) -> Iterator[Block]:
    yield Heading("Cost")
    rows = [(f"{row.stage.value} (round {row.round})", *_costs(row)) for row in report.usage]
    rows.append(("total", *_costs(report.total)))
    yield Table(("stage", "judge USD", "judge calls", "from the cache", "saved USD", "compute seconds"), tuple(rows))
    if not report.usage:
        return
    by_stage = {f"{row.stage.value} (round {row.round})": row for row in report.usage}
    yield Bars({name: row.compute_seconds for name, row in by_stage.items()}, "compute seconds")
    if report.total.judge_usd:
        yield Bars({name: row.judge_usd for name, row in by_stage.items()}, "judge USD")


def _costs(usage: Usage) -> Row:
    rate = usage.cache_hit_rate
    cached = "-" if rate is None else f"{rate:.0%}"
    spent = (f"{usage.judge_usd:.4f}", str(usage.judge_calls))
    return (*spent, cached, f"{usage.saved_usd:.4f}", f"{usage.compute_seconds:.1f}")


def _lineage(lineage: Lineage) -> Iterator[Row]:
    if (rubric := lineage.rubric) is not None:
        yield ("rubric", f"{rubric.name}, revision {rubric.number}", rubric.content_hash)
    yield ("prompt set", lineage.prompt_set.name, lineage.prompt_set.digest)
    if (model := lineage.base_model) is not None:
        yield ("base model", model.name, model.digest)
    several = any(checkpoint.candidate for checkpoint in lineage.checkpoints)
    for checkpoint in lineage.checkpoints:
        of_sweep = f", candidate {checkpoint.candidate}" if several and checkpoint.kind == "policy" else ""
        yield (f"{checkpoint.kind} checkpoint{of_sweep}", checkpoint.id, checkpoint.digest)
    for stage, run_id in lineage.reused_stages.items():
        yield (f"reused {stage.value}", run_id, "-")
