from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.rubric import Rubric
from app.rlaif.rubric_diff import Change, ChangeKind, Edit, Part, diff, word_edits

WORDS = st.lists(st.sampled_from(["is ", "polite", ", ", "and", " ", "\n", "brief. ", "ä"]), max_size=12).map("".join)
CRITERION = st.fixed_dictionaries(
    {"description": WORDS.map(lambda text: text or "x"), "weight": st.sampled_from([1.0, 2.0])},
    optional={
        "check": st.sampled_from(
            [{"kind": "length", "unit": "words", "maximum": n} for n in (3, 9)] + [{"kind": "repetition"}, None]
        ),
        "anchors": st.sampled_from([[{"score": n, "description": "Like."}] for n in (1, 10)]),
    },
)
GOLDEN = st.fixed_dictionaries({"expected": st.sampled_from(["A", "B", "TIE"])}).map(
    lambda example: example | {"prompt": "Why?", "first": "So.", "second": "No."}
)


def named(parts: st.SearchStrategy[Any], names: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    """Parts of unique names, in any order."""
    return st.dictionaries(st.sampled_from(names), parts, min_size=1).map(
        lambda found: [part | {"name": name} for name, part in found.items()]
    )


RUBRIC = st.fixed_dictionaries(
    {"criteria": named(CRITERION, "abc")},
    optional={
        "description": WORDS,
        "principles": st.lists(st.sampled_from(["Do no harm.", "Be kind.", "Be so kind."]), max_size=3),
        "golden_examples": named(GOLDEN, "gh"),
    },
).map(Rubric.model_validate)


def rubric(*criteria: dict[str, Any], **changes: Any) -> Rubric:
    return Rubric.model_validate({"criteria": list(criteria)} | changes)


def criterion(name: str, description: str = "Is polite.", **changes: Any) -> dict[str, Any]:
    return {"name": name, "description": description} | changes


def only(before: Rubric, after: Rubric) -> Change:
    [change] = diff(before, after)
    return change


class TestWordEdits:
    @given(WORDS, WORDS)
    def test_hold_both_texts(self, before: str, after: str) -> None:
        edits = word_edits(before, after)
        assert "".join(each.text for each in edits if each.edit is not Edit.ADDED) == before
        assert "".join(each.text for each in edits if each.edit is not Edit.REMOVED) == after
        assert all(one.edit is not other.edit for one, other in pairwise(edits))

    def test_name_the_word(self) -> None:
        edits = word_edits("Is polite and brief.", "Is polite and short.")
        assert [(each.edit.value, each.text) for each in edits] == [
            ("same", "Is polite and "),
            ("removed", "brief"),
            ("added", "short"),
            ("same", "."),
        ]

    def test_texts_beyond_the_limit_are_replaced_whole(self) -> None:
        assert [each.edit for each in word_edits("a b c d", "d c b a", compared=15)] == [Edit.REMOVED, Edit.ADDED]
        assert len(word_edits("a b c d", "d c b a", compared=16)) > 2


class TestDiff:
    @given(RUBRIC, RUBRIC)
    def test_is_empty_exactly_when_the_contents_are_equal(self, before: Rubric, after: Rubric) -> None:
        assert (diff(before, after) == ()) == (before.content_hash() == after.content_hash())

    @given(RUBRIC, RUBRIC)
    def test_read_backwards_exchanges_before_and_after(self, before: Rubric, after: Rubric) -> None:
        back = {ChangeKind.ADDED: ChangeKind.REMOVED, ChangeKind.REMOVED: ChangeKind.ADDED}
        forth = [each for each in diff(before, after) if each.part is not Part.PRINCIPLE]
        again = [each for each in diff(after, before) if each.part is not Part.PRINCIPLE]
        kinds = sorted((each.part, back.get(each.change, each.change)) for each in forth)
        assert kinds == sorted((each.part, each.change) for each in again)

    def test_names_each_field(self) -> None:
        before = rubric(criterion("polite", weight=1.0, anchors=[{"score": 1, "description": "Rude."}]))
        after = rubric(
            criterion(
                "polite",
                "Is very polite.",
                weight=2.0,
                anchors=[{"score": 1, "description": "Rude."}, {"score": 9, "description": "Kind."}],
                check={"kind": "length", "unit": "words", "maximum": 9},
            )
        )
        change = only(before, after)
        assert (change.part, change.name, change.change) == (Part.CRITERION, "polite", ChangeKind.CHANGED)
        assert {field.field: (field.before, field.after) for field in change.fields} == {
            "description": ("Is polite.", "Is very polite."),
            "weight": (1.0, 2.0),
            "check.kind": (None, "length"),
            "check.unit": (None, "words"),
            "check.maximum": (None, 9),
            "anchors.9": (None, "Kind."),
        }
        [words] = [field.words for field in change.fields if field.words]
        assert [(each.edit.value, each.text) for each in words] == [
            ("same", "Is "),
            ("added", "very "),
            ("same", "polite."),
        ]

    def test_added_and_removed(self) -> None:
        changes = diff(rubric(criterion("a"), criterion("b", "B.")), rubric(criterion("a"), criterion("c", "C.")))
        assert [(each.name, each.change.value) for each in changes] == [("c", "added"), ("b", "removed")]
        assert changes[0].fields[0].before is None

    def test_another_name_alone_is_a_change_of_name(self) -> None:
        change = only(rubric(criterion("a"), criterion("b", "B.")), rubric(criterion("a"), criterion("c", "B.")))
        assert (change.name, change.change) == ("c", ChangeKind.CHANGED)
        assert [(field.field, field.before, field.after) for field in change.fields] == [("name", "b", "c")]

    def test_another_order_alone_is_a_change(self) -> None:
        change = only(rubric(criterion("a"), criterion("b")), rubric(criterion("b"), criterion("a")))
        assert (change.part, change.fields[0].field) == (Part.RUBRIC, "order of criteria")
        assert (change.fields[0].before, change.fields[0].after) == (["a", "b"], ["b", "a"])

    def test_principles_by_their_place(self) -> None:
        before = rubric(criterion("a"), principles=["Do no harm.", "Be kind."])
        after = rubric(criterion("a"), principles=["Do no harm.", "Be very kind.", "Be brief."])
        changed, added = diff(before, after)
        assert (changed.name, changed.change, added.name, added.change) == (
            "2",
            ChangeKind.CHANGED,
            "3",
            ChangeKind.ADDED,
        )
        assert any(edit.text == "very " for edit in changed.fields[0].words)

    def test_golden_examples(self) -> None:
        golden = {"name": "g", "prompt": "Why?", "first": "So.", "second": "No.", "expected": "A"}
        before = rubric(criterion("a"), golden_examples=[golden])
        after = rubric(criterion("a"), golden_examples=[golden | {"expected": "B", "reason": "It is."}])
        change = only(before, after)
        assert change.part is Part.GOLDEN_EXAMPLE
        assert [field.field for field in change.fields] == ["expected", "reason"]

    def test_the_largest_rubrics_are_compared_in_bounded_time(self) -> None:
        def largest(word: str) -> Rubric:
            return rubric(*(criterion(f"c{n}", (f"{word} x " * 20_000)[:19_000]) for n in range(100)))

        began = time.monotonic()
        assert len(diff(largest("a"), largest("b"))) == 100
        assert time.monotonic() - began < 20
