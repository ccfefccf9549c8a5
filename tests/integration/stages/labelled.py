"""Labelled prompts for calibrations, and judges that are right about them to a planned degree."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from app.db.ids import Kind, new_id
from app.db.session import WriteSession
from app.rlaif.judges import JudgeSpec
from app.rlaif.seeds import derive_seed
from app.services import judges
from tests.integration.stages.world import World

GOOD, BAD = "The answer is forty two.", "The answer, I think, might be something else."


def labelled_prompts(count: int, *, split: str = "train", agreed: bool = True) -> list[dict[str, Any]]:
    """Two candidates each; three people prefer the one that says `right`. Every tenth comparison is a tie."""
    return [_prompt(number, split=split) | ({} if agreed else {"annotations": _divided()}) for number in range(count)]


def _prompt(number: int, *, split: str) -> dict[str, Any]:
    right = derive_seed(7, "right", number) % 2
    answer = "TIE" if number % 10 == 9 else "AB"[right]
    texts = [f"{GOOD if place == right else BAD} Number {number}." for place in (0, 1)]
    # Words that each judge looks for: the sound one finds them in the right answer, the weak one often elsewhere.
    marked = [f"{text} sound" if place == right else f"{text} off" for place, text in enumerate(texts)]
    misled = derive_seed(7, "misled", number) % 10 < 3
    marked[1 - right if misled else right] += " weak"
    return {
        "id": f"label-{number}",
        "messages": [{"role": "user", "content": f"What is question {number}?"}],
        "cohort": "general" if number % 2 else "special",
        "split": split,
        "candidates": marked,
        "authors": ["alpha", "beta"],
        "annotations": [
            {"first": 0, "second": 1, "annotator": name, "answer": answer, "adjudication": False}
            for name in ("ann", "bob", "cem")
        ],
    }


def _divided() -> list[dict[str, Any]]:
    answers = (("ann", "A"), ("bob", "B"))
    return [
        {"first": 0, "second": 1, "annotator": name, "answer": answer, "adjudication": False}
        for name, answer in answers
    ]


def word_judge(world: World, word: str, *, family: str) -> str:
    """A judge that prefers the response with the word."""
    check = {"kind": "words", "any_of": [word]}
    return world.add_judge(
        {
            "kind": "checks",
            "family": family,
            "criteria": [{"name": word, "description": f"Says {word}.", "check": check}],
        }
    )


def add_composite(world: World, spec: dict[str, Any]) -> str:
    """A panel or a cascade of judges that are there."""
    checked: JudgeSpec = TypeAdapter(JudgeSpec).validate_python(spec)
    with world.sessions.begin() as session:
        return judges.create(WriteSession(session), world.project, name=new_id(Kind.JUDGE), spec=checked).id
