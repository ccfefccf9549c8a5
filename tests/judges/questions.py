"""Questions for judges, from texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from app.rlaif.comparison import Order
from app.rlaif.judging import Turns
from app.rlaif.messages import Message, Role
from app.rlaif.rubric import Rubric
from workers.judges.protocol import Question

POLITE = "The moon pulls the sea. Thank you for asking."
RUDE = "The moon pulls the sea, as any child knows, so look it up."

RUBRIC = Rubric.model_validate(
    {
        "criteria": [
            {"name": "polite", "description": "Is polite.", "check": {"kind": "words", "any_of": ["thank you"]}},
            {"name": "brief", "description": "Is brief.", "check": {"kind": "length", "unit": "words", "maximum": 20}},
        ]
    }
)


def said(text: str) -> Turns:
    return (Message(role=Role.ASSISTANT, content=text),)


def question(
    first: str = POLITE,
    second: str = RUDE,
    *,
    order: Order = Order.AB,
    comparison_id: str = "cmp_1",
    rubric: Rubric = RUBRIC,
) -> Question:
    return Question(
        comparison_id=comparison_id,
        order=order,
        repeat=0,
        prompt=(Message(role=Role.USER, content="Why are there tides?"),),
        first=said(first),
        second=said(second),
        rubric=rubric,
        nonce=f"nonce-of-{comparison_id}",
    )


def both_orders(pairs: Iterable[tuple[str, str]]) -> Iterator[Question]:
    """Each pair in both orders, the first pair's comparison being `cmp_0`."""
    for number, (first, second) in enumerate(pairs):
        for order in Order:
            yield question(first, second, order=order, comparison_id=f"cmp_{number}")
