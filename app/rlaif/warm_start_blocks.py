"""What the report says of a warm start: what was learned, what was left out, what it changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from app.rlaif.blocks import Heading, Paragraph, Quote, Row, Table, Words
from app.rlaif.evidence import HeldOutLikelihood, RevisionExample, WarmStartMetrics


def warm_start_blocks(found: WarmStartMetrics | None) -> Iterator[Words]:
    """Nothing where there was none."""
    if found is None:
        return
    yield Heading("Warm start")
    yield Paragraph(
        f"Method {found.method}: {found.examples} of {found.prompts} train prompts gave an example to learn from, "
        f"{found.cut_examples} of them without an end."
    )
    rows: list[Row] = [
        (f"answers, {name.replace('_', ' ')}", str(count)) for name, count in sorted(found.outcomes.items())
    ]
    rows += [(f"left out, {name.replace('_', ' ')}", str(count)) for name, count in sorted(found.left_out.items())]
    rows += _likelihood("before", found.before)
    rows += _likelihood("after", found.after)
    if rows:
        yield Table(("figure", "value"), tuple(rows))
    yield from _revised(found.shown)


def _likelihood(when: str, found: HeldOutLikelihood | None) -> list[Row]:
    if found is None:
        return []
    value = f"{found.nll:.3f} nats a token, perplexity {found.perplexity:.2f} ({found.answers} answers)"
    return [(f"held-out answers, {when}", value)]


def _revised(shown: Sequence[RevisionExample]) -> Iterator[Words]:
    for each in shown:
        yield Quote(f"prompt {each.prompt_id}", str(each.prompt[-1].get("content") or ""))
        yield Quote("answer", each.before)
        yield Quote(f"critique, by: {each.principle}", each.critique)
        yield Quote("revision", each.after)
