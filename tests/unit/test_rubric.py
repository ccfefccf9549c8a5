from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.rlaif.rubric import Criterion, Rubric


def criterion(name: str = "polite", **changes: Any) -> dict[str, Any]:
    return {"name": name, "description": "Is polite."} | changes


def rubric(*criteria: dict[str, Any], **changes: Any) -> Rubric:
    return Rubric.model_validate({"criteria": list(criteria)} | changes)


PAIR: dict[str, Any] = {"prompt": "What is salt?", "first": "A mineral.", "second": "No idea."}


def golden(name: str = "salt", **changes: Any) -> dict[str, Any]:
    return PAIR | {"name": name, "expected": "A"} | changes


def anchors(*scores: int) -> list[dict[str, Any]]:
    return [{"score": score, "description": f"Like {score}."} for score in scores]


def turn(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}


class TestRubric:
    def test_equal_content_has_equal_hash(self) -> None:
        assert rubric(criterion()).content_hash() == rubric(criterion(weight=1.0)).content_hash()

    @pytest.mark.parametrize(
        "other",
        [
            rubric(criterion(weight=2.0)),
            rubric(criterion(description="Is polite!")),
            rubric(criterion(), principles=["Do no harm."]),
            rubric(criterion(check={"kind": "words", "any_of": ["please"]})),
            rubric(criterion(anchors=[{"score": 1, "description": "Rude."}])),
            rubric(criterion(), golden_examples=[golden()]),
        ],
    )
    def test_other_content_has_another_hash(self, other: Rubric) -> None:
        assert other.content_hash() != rubric(criterion()).content_hash()

    def test_survives_a_round_trip_through_json(self) -> None:
        given = rubric(criterion(check={"kind": "json_schema", "schema": {"type": "object"}}))
        assert Rubric.model_validate_json(given.model_dump_json()) == given
        assert '"schema"' in given.model_dump_json()

    def test_prompts_criteria_are_added_and_replace_namesakes(self) -> None:
        base = rubric(criterion("polite"), criterion("brief"))
        extra = tuple(Criterion.model_validate(criterion(name, weight=5.0)) for name in ("polite", "on topic"))
        assert [(each.name, each.weight) for each in base.with_criteria(extra).criteria] == [
            ("brief", 1.0),
            ("polite", 5.0),
            ("on topic", 5.0),
        ]

    def test_content_of_the_first_release_keeps_its_hash_and_its_json(self) -> None:
        """Hash and JSON as the first release stored them: a later field changes neither while it is unused."""
        stored = {
            "description": "Short.",
            "criteria": [{"name": "polite", "description": "Is polite.", "weight": 2.0, "check": None}],
            "principles": ["Do no harm."],
        }
        loaded = Rubric.model_validate(stored)
        assert loaded.content_hash() == "7c8e58a8928e115fc064f1396b96826a13498811b05f61ac911be38afcc8009c"
        assert loaded.model_dump(mode="json") == stored

    def test_a_golden_example_may_be_a_trajectory(self) -> None:
        calls = [{"id": "1", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}]
        turns = [{"role": "assistant", "tool_calls": calls}, turn("tool", "rain"), turn("assistant", "Rain.")]
        given = rubric(
            criterion(), golden_examples=[golden(prompt=[turn("user", "Weather in Oslo?")], first=turns, tools=[{}])]
        )
        assert Rubric.model_validate_json(given.model_dump_json()) == given
        assert given.golden_examples[0].messages()[0].content == "Weather in Oslo?"

    @pytest.mark.parametrize(
        ("content", "field"),
        [
            ({"criteria": []}, "criteria"),
            ({"criteria": [criterion("same"), criterion("same")]}, "same"),
            ({"criteria": [criterion(weight=0.0)]}, "weight"),
            ({"criteria": [criterion(weight=-1.0)]}, "weight"),
            ({"criteria": [criterion(weight=float("nan"))]}, "weight"),
            ({"criteria": [criterion(weight=float("inf"))]}, "weight"),
            ({"criteria": [criterion(weight="2")]}, "weight"),
            ({"criteria": [criterion(weight=True)]}, "weight"),
            ({"criteria": [criterion(wieght=2.0)]}, "wieght"),
            ({"criteria": [criterion(f"c{number}") for number in range(101)]}, "criteria"),
            ({"criteria": [criterion(check={"kind": "magic"})]}, "check"),
            ({"criteria": [criterion(check={"kind": "words"})]}, "any_of"),
            ({"criteria": [criterion(check={"kind": "length", "unit": "words"})]}, "minimum"),
            ({"criteria": [criterion(check={"kind": "length", "unit": "words", "minimum": 9, "maximum": 3})]}, "above"),
            ({"criteria": [criterion(check={"kind": "similarity", "minimum": 0.7, "full": 0.6})]}, "below"),
            ({"criteria": [criterion()], "examples": []}, "examples"),
            ({"criteria": [criterion(anchors=anchors(0))]}, "score"),
            ({"criteria": [criterion(anchors=anchors(11))]}, "score"),
            ({"criteria": [criterion(anchors=anchors(True))]}, "score"),
            ({"criteria": [criterion(anchors=anchors(5, 5))]}, "once"),
            ({"criteria": [criterion(anchors=anchors(9, 3))]}, "lowest first"),
            ({"criteria": [criterion(anchors=[{"score": 1, "description": ""}])]}, "description"),
            ({"criteria": [criterion()], "golden_examples": [golden(), golden()]}, "salt"),
            ({"criteria": [criterion()], "golden_examples": [golden(expected="INVALID")]}, "expected"),
            ({"criteria": [criterion()], "golden_examples": [golden(second="A mineral.")]}, "same response"),
            ({"criteria": [criterion()], "golden_examples": [golden(prompt=" ")]}, "empty"),
            ({"criteria": [criterion()], "golden_examples": [golden(prompt=[turn("assistant", "Hm")])]}, "assistant"),
            ({"criteria": [criterion()], "golden_examples": [golden(first="")]}, "first"),
        ],
    )
    def test_bad_content_is_refused_and_named(self, content: dict[str, Any], field: str) -> None:
        with pytest.raises(ValidationError, match=field):
            Rubric.model_validate(content)
