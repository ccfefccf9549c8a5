"""How long a criterion wants a response to be, by its check or in its words."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from app.rlaif.rubric import Criterion, LengthCheck
from app.rlaif.rubric_wording import sentences, unquoted


@dataclass(frozen=True, slots=True)
class Length:
    """A length that is demanded, by a check or in words; `quote` says where."""

    unit: str
    minimum: float
    maximum: float
    quote: str


_WORD = re.compile(r"\S+")
_NUMBERS = {
    word: number
    for number, word in enumerate(
        _WORD.findall(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
            "seventeen eighteen nineteen twenty"
        )
    )
} | {"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "eighty": 80, "hundred": 100}
_NUMBER = rf"(\d{{1,6}}|{'|'.join(_NUMBERS)})"
_UNIT = r"(?:\w+ )?(word|sentence|character|paragraph)s?\b"
# A length of the whole response: "every sentence has at most 20 words" is one of a part.
_OF_A_PART = re.compile(
    r"\b(?:(?:each|every|per|first|last|opening|closing) (?:\w+ )?(?:sentence|paragraph|line|point|section|item|step)"
    r"|title|headline|heading|subject line|bullet|introduction|conclusion|summary|greeting|quote|example)s?\b",
    re.IGNORECASE,
)
_AT_MOST = re.compile(
    rf"\b(?:at most|no more than|not more than|up to|fewer than|less than|under|below|maximum of|within|shorter than|"
    rf"not exceed|longer than) {_NUMBER} {_UNIT}",
    re.IGNORECASE,
)
_AT_LEAST = re.compile(
    rf"\b(?:at least|no fewer than|no less than|not less than|more than|over|minimum of|longer than) {_NUMBER} {_UNIT}",
    re.IGNORECASE,
)
_BETWEEN = re.compile(rf"\b(?:between )?{_NUMBER} (?:and|to) {_NUMBER} {_UNIT}", re.IGNORECASE)
_EXACTLY = re.compile(rf"\bexactly {_NUMBER} {_UNIT}", re.IGNORECASE)
_BARRED = re.compile(r"\b(?:no|not|never)\s+(?:be\s+)?$", re.IGNORECASE)


def demanded_lengths(criterion: Criterion) -> tuple[Length, ...]:
    """What the check and the words demand of the response's length, the narrowest of each unit."""
    found: list[Length] = []
    if isinstance(check := criterion.check, LengthCheck):
        low, high = check.minimum or 0, math.inf if check.maximum is None else check.maximum
        found.append(Length(check.unit.removesuffix("s"), low, high, f"{check.unit} from {low} to {high}"))
    for sentence in sentences(unquoted(criterion.description)):
        if not _OF_A_PART.search(sentence):
            found += _stated(sentence)
    return _narrowest(found)


def _narrowest(found: Iterable[Length]) -> tuple[Length, ...]:
    """Of each unit the highest minimum and the lowest maximum."""
    lows: dict[str, Length] = {}
    highs: dict[str, Length] = {}
    for length in found:
        if length.minimum > lows.setdefault(length.unit, length).minimum:
            lows[length.unit] = length
        if length.maximum < highs.setdefault(length.unit, length).maximum:
            highs[length.unit] = length
    return tuple(dict.fromkeys([*lows.values(), *highs.values()]))


def _stated(sentence: str) -> Iterator[Length]:
    for match in _AT_MOST.finditer(sentence):
        longer = match[0].lower().startswith("longer")
        if longer == _is_barred(sentence, match):
            yield Length(match[2].lower(), 0, _number(match[1]), match[0])
    for match in _AT_LEAST.finditer(sentence):
        if not _is_barred(sentence, match):
            yield Length(match[2].lower(), _number(match[1]), math.inf, match[0])
    for match in _BETWEEN.finditer(sentence):
        yield Length(match[3].lower(), _number(match[1]), _number(match[2]), match[0])
    for match in _EXACTLY.finditer(sentence):
        yield Length(match[2].lower(), _number(match[1]), _number(match[1]), match[0])


def _is_barred(sentence: str, match: re.Match[str]) -> bool:
    return _BARRED.search(sentence[max(match.start() - 10, 0) : match.start()]) is not None


def _number(text: str) -> int:
    return int(text) if text.isdigit() else _NUMBERS[text.lower()]


def apart(one: Length, other: Length) -> list[str]:
    """Both quotes when no text has both lengths. A sentence has a word at least, a word a character."""
    smaller = {("word", "sentence"), ("character", "word"), ("character", "sentence")}
    for a, b in ((one, other), (other, one)):
        comparable = a.unit == b.unit or (a.unit, b.unit) in smaller
        if comparable and b.minimum > a.maximum:
            return [one.quote, other.quote]
    return []
