"""Questions for judges, from texts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from app.rlaif.comparison import Order
from app.rlaif.messages import Message, Role
from app.rlaif.pairwise import PairQuestion
from app.rlaif.rendering import Case, Response
from app.rlaif.rubric import Rubric

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


def said(text: str) -> Response:
    return Response((Message(role=Role.ASSISTANT, content=text),))


def question(
    first: str = POLITE,
    second: str = RUDE,
    *,
    order: Order = Order.AB,
    comparison_id: str = "cmp_1",
    rubric: Rubric = RUBRIC,
) -> PairQuestion:
    case = Case((Message(role=Role.USER, content="Why are there tides?"),), rubric, key=b"of the tests")
    return PairQuestion(case, said(first), said(second), comparison_id, order)


def both_orders(pairs: Iterable[tuple[str, str]]) -> Iterator[PairQuestion]:
    """Each pair in both orders, the first pair's comparison being `cmp_0`."""
    for number, (first, second) in enumerate(pairs):
        for order in Order:
            yield question(first, second, order=order, comparison_id=f"cmp_{number}")
