"""What changed from one revision of a rubric to another, to the word. Empty exactly when the contents are equal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from enum import StrEnum
from itertools import groupby
from operator import itemgetter
from typing import Any

from pydantic import BaseModel

from app.rlaif.rubric import Rubric

_TOKEN = re.compile(r"\w+\s*|[^\w\s]\s*|\s+")
COMPARED = 2_000_000
"""Pairs of words that one diff compares at most. Texts too long for their share are one removal and one addition."""


class Edit(StrEnum):
    SAME = "same"
    REMOVED = "removed"
    ADDED = "added"


@dataclass(frozen=True, slots=True)
class WordEdit:
    """A stretch of text: `same` and `removed` together are the text before, `same` and `added` the text after."""

    edit: Edit
    text: str


class Part(StrEnum):
    """Where in the rubric a change is."""

    RUBRIC = "rubric"
    CRITERION = "criterion"
    PRINCIPLE = "principle"
    GOLDEN_EXAMPLE = "golden_example"


class ChangeKind(StrEnum):
    ADDED = "added"
    REMOVED = "removed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class FieldChange:
    """One field's two values as JSON data, None where there is none; `words` where both are texts."""

    field: str
    before: Any
    after: Any
    words: tuple[WordEdit, ...] = ()


@dataclass(frozen=True, slots=True)
class Change:
    """One part that is new, gone or different. `name` is the part's, a principle's the place it has, counted from 1."""

    part: Part
    name: str
    change: ChangeKind
    fields: tuple[FieldChange, ...]


def diff(before: Rubric, after: Rubric) -> tuple[Change, ...]:
    """The changes in the rubric's own order: description and order, criteria, principles, golden examples.

    A criterion or example that has another name and is otherwise equal is one changed, not one removed and one added.
    """
    changes = [*_rubric(before, after), *_named(Part.CRITERION, before.criteria, after.criteria)]
    changes += _principles(before.principles, after.principles)
    changes += _named(Part.GOLDEN_EXAMPLE, before.golden_examples, after.golden_examples)
    texts = sum(_is_text(field) for each in changes for field in each.fields)
    return tuple(_with_words(each, compared=COMPARED // max(texts, 1)) for each in changes)


def _is_text(field: FieldChange) -> bool:
    return isinstance(field.before, str) and isinstance(field.after, str)


def _with_words(change: Change, *, compared: int) -> Change:
    fields = (
        replace(field, words=word_edits(field.before, field.after, compared=compared)) if _is_text(field) else field
        for field in change.fields
    )
    return replace(change, fields=tuple(fields))


def word_edits(before: str, after: str, *, compared: int = COMPARED) -> tuple[WordEdit, ...]:
    """The texts aligned by words, white space kept, at the cost of at most `compared` comparisons of two words."""
    old, new = _TOKEN.findall(before), _TOKEN.findall(after)
    start = _shared_start(old, new)
    end = _shared_start(old[start:][::-1], new[start:][::-1])
    middle_old, middle_new = old[start : len(old) - end], new[start : len(new) - end]
    tokens = [(Edit.SAME, token) for token in old[:start]]
    if len(middle_old) * len(middle_new) <= compared:
        tokens += _aligned(middle_old, middle_new)
    else:
        tokens += [(Edit.REMOVED, "".join(middle_old)), (Edit.ADDED, "".join(middle_new))]
    tokens += [(Edit.SAME, token) for token in old[len(old) - end :]]
    return tuple(_stretches(tokens))


def _shared_start(old: Sequence[str], new: Sequence[str]) -> int:
    pairs = zip(old, new, strict=False)
    return next((place for place, (a, b) in enumerate(pairs) if a != b), min(len(old), len(new)))


def _aligned(old: Sequence[str], new: Sequence[str]) -> Iterator[tuple[Edit, str]]:
    """By their longest common subsequence; what is gone comes before what came."""
    shared = [[0] * (len(new) + 1) for _ in range(len(old) + 1)]
    for a in reversed(range(len(old))):
        row, below = shared[a], shared[a + 1]
        for b in reversed(range(len(new))):
            row[b] = below[b + 1] + 1 if old[a] == new[b] else max(below[b], row[b + 1])
    a = b = 0
    while a < len(old) and b < len(new):
        if old[a] == new[b]:
            yield Edit.SAME, old[a]
            a, b = a + 1, b + 1
        elif shared[a + 1][b] >= shared[a][b + 1]:
            yield Edit.REMOVED, old[a]
            a += 1
        else:
            yield Edit.ADDED, new[b]
            b += 1
    yield from ((Edit.REMOVED, token) for token in old[a:])
    yield from ((Edit.ADDED, token) for token in new[b:])


def _stretches(tokens: Sequence[tuple[Edit, str]]) -> Iterator[WordEdit]:
    for edit, group in groupby(tokens, key=itemgetter(0)):
        if text := "".join(token for _, token in group):
            yield WordEdit(edit, text)


def _rubric(before: Rubric, after: Rubric) -> Iterator[Change]:
    """The description, and the order of criteria or examples where those that stayed have another."""
    old: dict[str, Any] = {"description": before.description}
    new: dict[str, Any] = {"description": after.description}
    for field, one, other in (
        ("order of criteria", before.criteria, after.criteria),
        ("order of golden_examples", before.golden_examples, after.golden_examples),
    ):
        names, others = [each.name for each in one], [each.name for each in other]
        if [name for name in names if name in others] != [name for name in others if name in names]:
            old[field], new[field] = names, others
    if fields := _fields(old, new):
        yield Change(Part.RUBRIC, "", ChangeKind.CHANGED, fields)


def _named(part: Part, before: Sequence[BaseModel], after: Sequence[BaseModel]) -> Iterator[Change]:
    old, new = _by_name(before), _by_name(after)
    renamed = _renamed(old, new)
    for name, content in new.items():
        if (former := renamed.get(name, name)) not in old:
            yield Change(part, name, ChangeKind.ADDED, _fields({}, content))
        elif fields := _fields(old[former], content):
            yield Change(part, name, ChangeKind.CHANGED, fields)
    for name, content in old.items():
        if name not in new and name not in renamed.values():
            yield Change(part, name, ChangeKind.REMOVED, _fields(content, {}))


def _by_name(parts: Sequence[BaseModel]) -> dict[str, dict[str, Any]]:
    contents = (part.model_dump(mode="json") for part in parts)
    return {content["name"]: content for content in contents}


def _renamed(old: Mapping[str, dict[str, Any]], new: Mapping[str, dict[str, Any]]) -> dict[str, str]:
    """The former names, by the new ones, of what has another name and nothing else that is new."""
    found: dict[str, str] = {}
    for name in new.keys() - old.keys():
        former = (other for other in old if other not in new and other not in found.values())
        same = (other for other in former if old[other] | {"name": name} == new[name])
        if (match := next(same, None)) is not None:
            found[name] = match
    return found


def _principles(before: Sequence[str], after: Sequence[str]) -> Iterator[Change]:
    for tag, a, b, c, d in SequenceMatcher(None, before, after, autojunk=False).get_opcodes():
        gone, come = before[a:b], after[c:d]
        if tag == "equal":
            continue
        for place in range(max(len(gone), len(come))):
            old = {"text": gone[place]} if place < len(gone) else {}
            new = {"text": come[place]} if place < len(come) else {}
            kind = ChangeKind.CHANGED if old and new else ChangeKind.ADDED if new else ChangeKind.REMOVED
            yield Change(Part.PRINCIPLE, str((c if new else a) + place + 1), kind, _fields(old, new))


def _fields(old: Mapping[str, Any], new: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    """What differs, field by field; a check or an anchor by its own fields, `check.maximum`."""
    flat_old, flat_new = dict(_flat("", old)), dict(_flat("", new))
    names = dict.fromkeys((*flat_old, *flat_new))
    return tuple(
        FieldChange(name, flat_old.get(name), flat_new.get(name))
        for name in names
        if flat_old.get(name) != flat_new.get(name)
    )


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Anchors by their score, checks by their fields; anything else is one value."""
    if not name:
        for field, inner in value.items():
            yield from _flat(field, inner)
    elif value is None:
        return
    elif name == "check" and isinstance(value, Mapping):
        yield from ((f"check.{field}", inner) for field, inner in value.items())
    elif name == "anchors":
        yield from ((f"anchors.{anchor['score']}", anchor["description"]) for anchor in value)
    else:
        yield name, value
