from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.checks import (
    InvalidRubric,
    NothingToCheck,
    answer_text,
    score_completion,
    user_text,
    validate_rubric,
)
from app.rlaif.messages import Message
from app.rlaif.rubric import Rubric

ALL_KINDS: list[dict[str, Any]] = [
    {"kind": "words", "any_of": ["thank you"], "none_of": ["ugh"]},
    {"kind": "pattern", "pattern": r"[.!?]\s*$"},
    {"kind": "length", "unit": "sentences", "minimum": 2, "maximum": 6},
    {"kind": "json_schema", "schema": {"type": "object"}},
    {"kind": "similarity", "to": "prompt"},
    {"kind": "repetition", "ngram": 2},
]


def rubric(*checks: dict[str, Any], weights: tuple[float, ...] = ()) -> Rubric:
    return Rubric.model_validate(
        {
            "criteria": [
                {"name": f"c{number}", "description": "A demand.", "check": check, "weight": weight}
                for number, (check, weight) in enumerate(
                    zip(checks, weights or (1.0,) * len(checks), strict=True), start=1
                )
            ]
        }
    )


def score(check: dict[str, Any], completion: str, *, prompt: str = "", reference: str | None = None) -> float:
    return score_completion(rubric(check), completion, prompt=prompt, reference=reference).total


class TestWords:
    @pytest.mark.parametrize(
        ("check", "completion", "expected"),
        [
            ({"any_of": ["thank you", "please"]}, "Oh, THANK   you!", 1.0),
            ({"any_of": ["thank you"]}, "thank\nyou", 1.0),
            ({"any_of": ["tide"]}, "tides rise", 0.0),
            ({"any_of": ["c++"]}, "I like C++.", 1.0),
            ({"all_of": ["moon", "sun"]}, "the moon and the sun", 1.0),
            ({"all_of": ["moon", "sun"]}, "the moon", 0.0),
            ({"none_of": ["ugh"]}, "Ugh, no.", 0.0),
            ({"none_of": ["ugh"]}, "laughing", 1.0),
            ({"any_of": ["moon"], "none_of": ["ugh"]}, "ugh, the moon", 0.0),
            ({"any_of": ["STRASSE"]}, "die Straße", 1.0),
        ],
    )
    def test_holds_for_whole_words_in_any_case(self, check: dict[str, Any], completion: str, expected: float) -> None:
        assert score({"kind": "words"} | check, completion) == expected


class TestPattern:
    @pytest.mark.parametrize(
        ("pattern", "must_match", "completion", "expected"),
        [
            ("^[A-Z].*[.!?]$", True, "The moon.", 1.0),
            ("^[A-Z].*[.!?]$", True, "the moon.", 0.0),
            ("[0-9]", False, "no digits", 1.0),
            ("[0-9]", False, "4 digits", 0.0),
            (r"\p{Greek}", True, "αβγ", 1.0),
            ("a", True, "\ud800a", 1.0),
        ],
    )
    def test_is_found_or_not(self, pattern: str, must_match: bool, completion: str, expected: float) -> None:
        assert score({"kind": "pattern", "pattern": pattern, "must_match": must_match}, completion) == expected

    def test_pattern_that_makes_backtracking_explode_takes_no_time(self) -> None:
        started = time.monotonic()
        assert score({"kind": "pattern", "pattern": "^(a+)+$"}, "a" * 100_000 + "b") == 0.0
        assert time.monotonic() - started < 2.0


class TestLength:
    @pytest.mark.parametrize(
        ("words", "expected"), [(0, 0.0), (2, 0.0), (3, 0.5), (4, 1.0), (8, 1.0), (10, 0.5), (12, 0.0), (99, 0.0)]
    )
    def test_falls_to_zero_at_half_the_bound_beyond_it(self, words: int, expected: float) -> None:
        assert score({"kind": "length", "unit": "words", "minimum": 4, "maximum": 8}, "word " * words) == expected

    @pytest.mark.parametrize(
        ("unit", "completion", "size"),
        [
            ("sentences", "The moon. The sun! Both? Yes", 4),
            ("sentences", "It is 3.5 m high. Really...", 2),
            ("sentences", "...", 0),
            ("sentences", "", 0),
            ("characters", "  abc ", 3),
            ("words", "one two\tthree\n", 3),
        ],
    )
    def test_counts_by_unit(self, unit: str, completion: str, size: int) -> None:
        exactly = {"kind": "length", "unit": unit, "minimum": size, "maximum": max(size, 1)}
        assert score(exactly, completion) == 1.0
        assert score(exactly | {"minimum": size + 1, "maximum": size + 1}, completion) < 1.0


class TestJsonSchema:
    SCHEMA: dict[str, Any] = {  # noqa: RUF012 - read only
        "type": "object",
        "properties": {"name": {"$ref": "#/$defs/name"}},
        "required": ["name"],
        "$defs": {"name": {"type": "string", "pattern": "^[a-z]+$"}},
    }

    @pytest.mark.parametrize(
        ("completion", "expected"),
        [
            ('{"name": "moon"}', 1.0),
            (' {"name": "moon"}\n', 1.0),
            ('{"name": "Moon"}', 0.0),
            ("{}", 0.0),
            ("moon", 0.0),
            ("", 0.0),
            ('{"name": "moon"} and more', 0.0),
            ('{"name": "moon", "x": NaN}', 0.0),
            ('{"name": "moon", "x": 1e400}', 0.0),
            ('{"name": "moon", "x": ' + "9" * 5000 + "}", 0.0),
            ("[" * 100_000, 0.0),
        ],
    )
    def test_is_json_that_satisfies_the_schema(self, completion: str, expected: float) -> None:
        assert score({"kind": "json_schema", "schema": self.SCHEMA}, completion) == expected

    def test_patterns_in_a_schema_do_not_backtrack(self) -> None:
        started = time.monotonic()
        check = {"kind": "json_schema", "schema": {"type": "string", "pattern": "^(a+)+$"}}
        assert score(check, '"' + "a" * 50_000 + 'b"') == 0.0
        assert time.monotonic() - started < 2.0


class TestSimilarity:
    def test_is_the_overlap_of_content_words(self) -> None:
        check = {"kind": "similarity", "to": "reference", "full": 1.0}
        assert score(check, "The moon pulls the sea", reference="the sea, which the moon pulls") == 1.0
        assert score(check, "The moon", reference="the moon pulls the sea") == pytest.approx(2 * 1 / (1 + 3))
        assert score(check, "The sun", reference="the moon pulls the sea") == 0.0

    def test_is_scaled_between_minimum_and_full(self) -> None:
        check = {"kind": "similarity", "to": "prompt", "minimum": 0.25, "full": 0.75}
        assert score(check, "moon", prompt="moon sea star") == pytest.approx(0.5)
        assert score(check, "moon sea", prompt="moon sea star") == 1.0

    def test_saying_a_word_often_does_not_help(self) -> None:
        check = {"kind": "similarity", "to": "prompt", "full": 1.0}
        assert score(check, "moon moon moon moon", prompt="moon sea") < score(check, "moon", prompt="moon sea")

    def test_does_not_apply_without_a_reference(self) -> None:
        checks = rubric({"kind": "similarity"}, {"kind": "words", "any_of": ["moon"]}, weights=(9.0, 1.0))
        assert score_completion(checks, "moon", prompt="", reference=None).by_criterion == {"c2": 1.0}
        assert score_completion(checks, "moon", prompt="", reference="star").total == pytest.approx(0.1)


class TestRepetition:
    def test_falls_with_the_share_of_repeated_ngrams(self) -> None:
        check = {"kind": "repetition", "ngram": 1, "maximum": 0.5}
        assert score(check, "a b c d") == 1.0
        assert score(check, "a a b b") == 1.0
        assert score(check, "a a a a a b b b") == pytest.approx(0.0)
        assert score(check, "a a a b b a a b") == pytest.approx(0.0)
        assert score(check, "a a a b b c a b") == pytest.approx(0.5)

    def test_too_short_to_repeat_is_fine(self) -> None:
        assert score({"kind": "repetition", "ngram": 3}, "two words") == 1.0


class TestScoreCompletion:
    def test_is_the_weighted_mean_over_criteria_with_a_check(self) -> None:
        checks = rubric(
            {"kind": "words", "any_of": ["moon"]}, {"kind": "words", "any_of": ["sun"]}, weights=(3.0, 1.0)
        ).model_dump()
        checks["criteria"] = (*checks["criteria"], {"name": "kind", "description": "Is kind."})
        scored = score_completion(Rubric.model_validate(checks), "the moon", prompt="", reference=None)
        assert scored.total == 0.75
        assert scored.by_criterion == {"c1": 1.0, "c2": 0.0}

    def test_nothing_to_check_is_an_error(self) -> None:
        read_by_a_judge = Rubric.model_validate({"criteria": [{"name": "kind", "description": "Is kind."}]})
        with pytest.raises(NothingToCheck, match="no criterion"):
            score_completion(read_by_a_judge, "text", prompt="", reference=None)
        with pytest.raises(NothingToCheck):
            score_completion(rubric({"kind": "similarity"}), "text", prompt="", reference=None)

    @given(st.text(), st.text(), st.none() | st.text(), st.lists(st.sampled_from(ALL_KINDS), min_size=1))
    def test_any_text_scores_between_zero_and_one(
        self, completion: str, prompt: str, reference: str | None, checks: list[dict[str, Any]]
    ) -> None:
        scored = score_completion(rubric(*checks), completion, prompt=prompt, reference=reference)
        assert 0.0 <= scored.total <= 1.0
        assert all(0.0 <= each <= 1.0 for each in scored.by_criterion.values())

    @pytest.mark.parametrize("text", [" " * 200_000, "." * 200_000, "a. " * 60_000, "'a" * 100_000, "?!" * 100_000])
    def test_long_text_takes_linear_time(self, text: str) -> None:
        started = time.monotonic()
        score_completion(rubric(*ALL_KINDS), text, prompt="moon", reference=None)
        assert time.monotonic() - started < 5.0


def doubling(depth: int) -> dict[str, Any]:
    """Definitions that each refer twice to the next: 2 ** depth parts when expanded."""
    steps = {f"d{at}": {"allOf": [{"$ref": f"#/$defs/d{at + 1}"}] * 2} for at in range(depth)}
    return {"$ref": "#/$defs/d0", "$defs": steps | {f"d{depth}": {}}}


def nested(depth: int) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    for _ in range(depth):
        schema = {"not": schema}
    return schema


class TestValidateRubric:
    def test_runnable_checks_pass(self) -> None:
        validate_rubric(rubric(*ALL_KINDS))

    @pytest.mark.parametrize(("pattern", "said"), [("(a", "missing"), ("(?=a)", "invalid"), (r"(a)\1", "invalid")])
    def test_bad_pattern_names_criterion_and_field(self, pattern: str, said: str) -> None:
        with pytest.raises(InvalidRubric, match=said) as raised:
            validate_rubric(rubric({"kind": "words", "any_of": ["fine"]}, {"kind": "pattern", "pattern": pattern}))
        assert (raised.value.criterion, raised.value.field) == ("c2", "check.pattern")
        assert "'c2'" in str(raised.value)

    @pytest.mark.parametrize(
        ("schema", "said"),
        [
            ({"type": "strin"}, "not a JSON schema"),
            ({"type": "string", "pattern": "(?=a)"}, "RE2"),
            ({"type": "string", "pattern": "\ud800"}, "surrogate"),
            ({"$ref": "https://example.com/schema.json"}, "not a local definition"),
            ({"$ref": "file:///etc/passwd"}, "not a local definition"),
            ({"$ref": "#/$defs/absent"}, "points to nothing"),
            ({"$ref": "#"}, "not a local definition"),
            ({"$ref": "#/$defs/loop", "$defs": {"loop": {"not": {"$ref": "#/$defs/loop"}}}}, "leads back to itself"),
            ({"patternProperties": {"(a+)+$": {}}}, "patternProperties"),
            ({"properties": {"a": {"items": {"unevaluatedProperties": False}}}}, "unevaluatedProperties"),
            ({"$defs": {"unused": {"$dynamicRef": "#x"}}}, "dynamicRef"),
            (doubling(40), "expands to"),
        ],
    )
    def test_bad_schema_names_criterion_and_field(self, schema: dict[str, Any], said: str) -> None:
        with pytest.raises(InvalidRubric, match=said) as raised:
            validate_rubric(rubric({"kind": "json_schema", "schema": schema}))
        assert (raised.value.criterion, raised.value.field) == ("c1", "check.schema")

    def test_deeply_nested_schema_is_refused_and_not_a_crash(self) -> None:
        with pytest.raises(InvalidRubric, match="nested too deeply"):
            validate_rubric(rubric({"kind": "json_schema", "schema": nested(400)}))

    def test_property_that_is_called_like_a_keyword_is_no_keyword(self) -> None:
        names = {name: {"type": "string"} for name in ("patternProperties", "$ref", "$id", "pattern")}
        validate_rubric(rubric({"kind": "json_schema", "schema": {"properties": names, "enum": [{"$ref": "x"}]}}))

    def test_some_repetition_of_a_definition_is_fine(self) -> None:
        validate_rubric(rubric({"kind": "json_schema", "schema": doubling(8)}))

    @pytest.mark.parametrize("field", ["any_of", "all_of", "none_of"])
    def test_blank_phrase_is_refused(self, field: str) -> None:
        with pytest.raises(InvalidRubric, match="blank") as raised:
            validate_rubric(rubric({"kind": "words", field: ["fine", "  "]}))
        assert raised.value.field == f"check.{field}"


class TestTexts:
    MESSAGES = tuple(
        Message.model_validate(each)
        for each in (
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Why tides?"},
            {"role": "assistant", "content": "The moon."},
            {"role": "user", "content": "And?"},
            {"role": "assistant", "content": "The sun."},
            {"role": "assistant", "tool_calls": [{"function": {"name": "look", "arguments": "{}"}}]},
        )
    )

    @pytest.mark.parametrize(("read", "text"), [(user_text, "Why tides?\nAnd?"), (answer_text, "The sun.")])
    def test_reads_one_side_of_a_conversation(self, read: Callable[[tuple[Message, ...]], str], text: str) -> None:
        assert read(self.MESSAGES) == text
        assert read(()) == ""
