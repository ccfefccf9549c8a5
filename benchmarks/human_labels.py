"""Public comparisons with human labels and stored judges, put through the service's own replay judge.

The data stands beside the project and is never copied into it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from app.rlaif.comparison import Answer, InvalidReason, Order, Verdict
from app.rlaif.judges import ReplayJudge
from app.rlaif.messages import Message, Role
from app.rlaif.pairwise import PairQuestion
from app.rlaif.rendering import Case, Response
from app.rlaif.rubric import Rubric
from workers.judges.build import build_judge
from workers.judges.protocol import JudgedAnswer

RUBRIC = Rubric.model_validate(
    {"criteria": [{"name": "follows", "description": "Does precisely what the instruction asks, and does it well."}]}
)
_ANSWERS = {1: Answer.A, 2: Answer.B, 0: Answer.TIE, None: Answer.INVALID}


@dataclass(frozen=True, slots=True)
class HumanLabelled:
    """Two responses, what people answered, and what each stored judge answered in the orders that it was asked in."""

    id: str
    prompt: str
    first: str
    second: str
    people: tuple[Answer, ...]
    stored: Mapping[str, Mapping[Order, Answer]]

    @property
    def prompt_id(self) -> str:
        return hashlib.sha256(self.prompt.encode()).hexdigest()[:16]

    @property
    def judges(self) -> tuple[str, ...]:
        return tuple(self.stored)


def llmbar(directory: Path) -> list[HumanLabelled]:
    """419 adversarial and natural pairs with a gold label, six judges in both orders (arXiv 2310.07641)."""
    orders = {"as_given": Order.AB, "swapped": Order.BA}
    return [
        HumanLabelled(
            id=row["id"],
            prompt=row["instruction"],
            first=row["output_1"],
            second=row["output_2"],
            people=(_ANSWERS[row["human_label"]],),
            stored={
                judge: {orders[shown]: _ANSWERS[winner] for shown, winner in given.items()}
                for judge, given in row["judges"].items()
            },
        )
        for row in _rows(directory / "llmbar.jsonl")
    ]


def pandalm(directory: Path) -> list[HumanLabelled]:
    """999 pairs with three annotators, who may call a tie, and two judges in one order (arXiv 2306.05087)."""
    return [
        HumanLabelled(
            id=row["id"],
            prompt=f"{row['instruction']}\n\n{row['input']}".strip(),
            first=str(row["response_1"]),  # where the whole response is True, the file has a boolean
            second=str(row["response_2"]),
            people=tuple(_ANSWERS[label] for label in row["humans"]),
            stored={judge: {Order.AB: _ANSWERS[winner]} for judge, winner in row["judges"].items()},
        )
        for row in _rows(directory / "pandalm.jsonl")
    ]


def replayed(comparisons: Sequence[HumanLabelled], judge: str) -> dict[str, tuple[Verdict, ...]]:
    """The stored judge's verdicts by comparison id, as the worker's replay judge gives them."""
    with TemporaryDirectory() as directory:
        answers = Path(directory) / "answers.jsonl"
        lines = (json.dumps(row) for each in comparisons for row in _stored_answers(each, judge))
        answers.write_text("\n".join(lines), encoding="utf-8")
        given = asyncio.run(_asked(comparisons, judge, answers))
    verdicts: dict[str, list[Verdict]] = {each.id: [] for each in comparisons}
    for answer in given:
        verdict = Verdict(judge, answer.order, answer.answer, answer.probability, answer.repeat)
        verdicts[answer.comparison_id].append(verdict)
    return {comparison: tuple(of_it) for comparison, of_it in verdicts.items()}


async def _asked(comparisons: Sequence[HumanLabelled], judge: str, answers: Path) -> list[JudgedAnswer]:
    replay = build_judge(ReplayJudge(family=judge.lower(), answers=judge), may_spend=lambda: False, answers=answers)
    questions = (question for each in comparisons for question in _questions(each, judge))
    async with aclosing(replay):
        return [answer async for judged in replay.judge(questions) for answer in judged.verdicts()]


def _stored_answers(comparison: HumanLabelled, judge: str) -> Iterator[dict[str, Any]]:
    for order, answer in comparison.stored[judge].items():
        row: dict[str, Any] = {"comparison_id": comparison.id, "order": order, "answer": answer}
        yield row | ({"invalid_reason": InvalidReason.PARSE} if answer is Answer.INVALID else {})


def _questions(comparison: HumanLabelled, judge: str) -> Iterator[PairQuestion]:
    case = Case((Message(role=Role.USER, content=comparison.prompt),), RUBRIC, key=b"benchmark")
    first, second = _said(comparison.first), _said(comparison.second)
    for order in comparison.stored[judge]:
        yield PairQuestion(case, first, second, comparison.id, order)


def _said(text: str) -> Response:
    return Response((Message(role=Role.ASSISTANT, content=text),))


def _rows(file: Path) -> list[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]
