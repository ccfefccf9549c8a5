"""What the report says of the evaluation: win rates, lengths, rewards, refusals, promotion."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from app.rlaif.blocks import Block, Heading, Paragraph, Row, Table, share, with_interval
from app.rlaif.charts import Curve, Curves, Histograms, Interval, Intervals, Panel, Steps
from app.rlaif.evaluator_blocks import evaluator_blocks
from app.rlaif.evidence import Distribution, Promotion, Refusals, WinRate
from app.rlaif.report import Report
from app.rlaif.round_blocks import round_blocks
from app.rlaif.task_blocks import task_blocks

HEAD = ("cohort", "win rate", "interval", "p", "at equal length", "interval", "prompts", "wins", "ties", "losses")


def evaluation_blocks(report: Report) -> Iterator[Block]:
    if report.headline.win_rate is None:
        return
    yield Heading("Win rates")
    rows = [_win_rate("all", report.headline.win_rate)]
    rows += [_win_rate(cohort, rate) for cohort, rate in sorted(report.by_cohort.items())]
    if report.headline.control is not None:
        rows.append(_win_rate("control: base against base", report.headline.control))
    if report.chosen_by_reward is not None:
        rows.append(_win_rate("of two base answers, the reward model's choice", report.chosen_by_reward))
    yield _forest(report)
    yield Table(HEAD, tuple(rows))
    yield Paragraph(
        "p is of a draw: the exact sign-flip test over prompts; of cohorts, adjusted for their number by Holm's method."
    )
    figures = []
    if (length := report.length) is not None:
        figures.append(("mean tokens, base", f"{length.base_mean_tokens:.1f}"))
        figures.append(("mean tokens, policy", f"{length.policy_mean_tokens:.1f}"))
        figures.append(("share won by the longer answer", share(length.longer_wins_share)))
    if (reward := report.reward) is not None:
        figures.append(("mean reward, base", f"{reward.base_mean:+.3f}"))
        figures.append(("mean reward, policy", f"{reward.policy_mean:+.3f}"))
        figures.append(("win rate by the reward model", f"{reward.win_rate:.3f}"))
    yield Table(("figure", "value"), tuple(figures))
    yield from _best_of_n(report)
    yield from _refusals(report.refusals)
    yield from task_blocks(report.tasks)
    yield from evaluator_blocks(report.evaluators)
    yield from _promotion(report.promotion)
    yield from _distributions(report)
    yield from round_blocks(report.frontier, report.rounds)


def _best_of_n(report: Report) -> Iterator[Block]:
    if not report.best_of_n:
        return
    rows = ((str(each.n), f"{each.reward:+.3f}", f"{each.kl:.3f}") for each in report.best_of_n)
    yield Table(("best of n base answers", "mean reward", "KL bound, nats"), tuple(rows))
    curve = Curve(tuple(each.kl for each in report.best_of_n), tuple(each.reward for each in report.best_of_n))
    yield Curves((Panel("mean reward", {"best of n": curve}),), "KL bound, nats")


def _refusals(found: Mapping[str, Refusals]) -> Iterator[Block]:
    rows = [
        (cohort, f"{each.base_share:.3f}", f"{each.policy_share:.3f}", str(each.n), f"{each.p_value:.2g}")
        for cohort, each in found.items()
        if each.base_share or each.policy_share
    ]
    if rows:
        yield Table(("refusals by cohort", "base", "policy", "answers", "p"), tuple(rows))


def _promotion(found: Promotion | None) -> Iterator[Block]:
    if found is None or not found.reasons:
        return
    yield Paragraph(f"By these gates the policy is {'promoted' if found.promoted else 'held back'}.")
    rows = ((reason.gate, "held" if reason.held else "failed", reason.detail) for reason in found.reasons)
    yield Table(("gate", "outcome", "why"), tuple(rows))


def _forest(report: Report) -> Intervals:
    overall = report.headline.win_rate
    controlled = None if overall is None else overall.length_controlled
    named = {"all": overall, "all, at equal length": controlled, **report.by_cohort, "control": report.headline.control}
    lines = (Interval(name, rate.value, rate.low, rate.high) for name, rate in named.items() if rate is not None)
    return Intervals(tuple(lines), 0.5, "win rate over the base model")


def _distributions(report: Report) -> Iterator[Histograms]:
    """Length and reward of what was compared, before and after."""
    measured = {"tokens": report.tokens, "reward": report.rewards}
    panels = {title: _before_and_after(found) for title, found in measured.items() if found is not None}
    if panels:
        yield Histograms(panels)


def _before_and_after(found: Distribution) -> dict[str, Steps]:
    sides = {"base": found.base, "policy": found.policy}
    return {
        name: Steps(tuple(found.edges), tuple(count / max(sum(counts), 1) for count in counts))
        for name, counts in sides.items()
    }


def _win_rate(cohort: str, rate: WinRate) -> Row:
    counts = (str(rate.n_prompts), str(rate.wins), str(rate.ties), str(rate.losses))
    chance = rate.p_value if rate.holm_p_value is None else rate.holm_p_value
    p_value = "-" if chance is None else f"{chance:.2g}"
    return (cohort, *with_interval(rate), p_value, *with_interval(rate.length_controlled), *counts)
