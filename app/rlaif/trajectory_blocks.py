"""What the report says of trajectories: who succeeds how often, how reliably, and how far the judge is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.rlaif.blocks import Block, Heading, Paragraph, Row, Table, with_interval
from app.rlaif.charts import Curve, Curves, Panel
from app.rlaif.trajectory_evidence import AuthorSuccess, PassHat, Success, TrajectoryMetrics

_SUCCESS = ("author", "cohort", "success", "interval", "trajectories", "prompts", "missing")
_PASS_HAT = ("author", "k", "pass^k", "interval", "tasks", "left out")
_GOLD = ("author", "accuracy", "interval", "kappa", "false successes", "false failures", "trajectories")
_DIFFERENCE = ("author", "less", "difference", "interval", "p", "p adjusted", "prompts")


def trajectory_blocks(found: TrajectoryMetrics | None) -> Iterator[Block]:
    if found is None:
        return
    shown = _shown(found)
    yield Heading("Trajectories")
    yield Paragraph(
        f"A trajectory is a success from {found.threshold:g} points of 10 on, the mean of two ratings by "
        f"{found.evaluator!r}; {found.coverage:.1%} of the ratings are valid. What is missing is no failure."
    )
    yield Table(_SUCCESS, tuple(row for name, each in shown.items() for row in _successes(name, each)))
    yield Paragraph("pass^k: the chance that k trials of a task all succeed.")
    yield Table(_PASS_HAT, tuple(_pass_hat(name, each) for name, by in shown.items() for each in by.pass_hat))
    yield Curves((Panel("pass^k", {name: _curve(each.pass_hat) for name, each in shown.items()}),), "k")
    yield from _differences(found)
    yield from _gold(shown)


def _shown(found: TrajectoryMetrics) -> dict[str, AuthorSuccess]:
    """All together, and by author where there is more than one."""
    by_author = {each.author or "(not named)": each for each in found.authors}
    return {"all": found.overall, **by_author} if len(by_author) > 1 else {"all": found.overall}


def _successes(name: str, found: AuthorSuccess) -> Iterator[Row]:
    yield _success(name, "all", found.success)
    if len(found.by_cohort) > 1:
        yield from (_success(name, cohort, each) for cohort, each in sorted(found.by_cohort.items()))


def _success(name: str, cohort: str, found: Success) -> Row:
    counts = (found.trajectories, found.prompts, found.missing)
    return (name, cohort, *with_interval(found.rate), *map(str, counts))


def _pass_hat(name: str, found: PassHat) -> Row:
    return (name, str(found.k), *with_interval(found.value), str(found.value.n), str(found.left_out))


def _curve(found: Sequence[PassHat]) -> Curve:
    return Curve(tuple(float(each.k) for each in found), tuple(each.value.value for each in found))


def _differences(found: TrajectoryMetrics) -> Iterator[Block]:
    rows = [
        (
            each.first,
            each.second,
            *with_interval(each.difference, signed=True),
            f"{each.p_value:.2g}",
            f"{each.holm_p_value:.2g}",
            str(each.difference.n),
        )
        for each in found.differences
    ]
    if rows:
        yield Table(_DIFFERENCE, tuple(rows))
        yield Paragraph("On the prompts that both were tried on; p by the exact sign-flip test, adjusted by Holm.")


def _gold(shown: dict[str, AuthorSuccess]) -> Iterator[Block]:
    known = {name: each.gold for name, each in shown.items() if each.gold is not None}
    if not known:
        return
    rows = []
    for name, gold in known.items():
        kappa, _ = with_interval(gold.kappa)
        counts = (gold.false_successes, gold.false_failures, gold.accuracy.n if gold.accuracy else 0)
        rows.append((name, *with_interval(gold.accuracy), kappa, *map(str, counts)))
    yield Paragraph("The judge against the known outcomes, on the trajectories that have both:")
    yield Table(_GOLD, tuple(rows))
    panels = (
        Panel(f"pass^k, {name}", {"judged": _curve(gold.judged_pass_hat), "known": _curve(gold.known_pass_hat)})
        for name, gold in known.items()
    )
    yield Curves(tuple(panels), "k")
