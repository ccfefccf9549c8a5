"""Scores a completion by the criteria that a program can check. Deterministic, and linear in the completion's length.

Patterns are the client's: they run on RE2, which cannot backtrack, and `schema_guard` refuses the JSON schemas whose
evaluation could explode.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from app.rlaif.messages import Message, Role
from app.rlaif.patterns import InvalidPattern, compile_pattern, found
from app.rlaif.rubric import (
    Check,
    JsonSchemaCheck,
    LengthCheck,
    PatternCheck,
    RepetitionCheck,
    Rubric,
    SimilarityCheck,
    WordsCheck,
)
from app.rlaif.schema_guard import SchemaRefused, compile_schema

_WORD = re.compile(r"\w+(?:['\u2019]\w+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
# English function words, which say nothing of a text's subject.
STOP_WORDS = frozenset(
    _WORD.findall(
        "a about after all also am an and any are as at be because been before being both but by can could did do does "
        "doing down during each few for from further had has have having he her here hers him his how i if in into is "
        "it its just me more most my no nor not now of off on once only or other our out over own same she should so "
        "some such than that the their them then there these they this those through to too under until up very was we "
        "were what when where which while who whom why will with would you your"
    )
)


class NothingToCheck(ValueError):
    """No criterion of the rubric can be checked by a program for this prompt."""


class InvalidRubric(ValueError):
    """A criterion's check cannot run: `criterion` and `field` say which, the message says why and what to write."""

    def __init__(self, criterion: str, field: str, problem: str) -> None:
        super().__init__(f"criterion {criterion!r}, {field}: {problem}")
        self.criterion = criterion
        self.field = field


@dataclass(frozen=True, slots=True)
class CheckScore:
    """`total` is the weighted mean of `by_criterion`; every score is in [0, 1]."""

    total: float
    by_criterion: dict[str, float]


def score_completion(rubric: Rubric, completion: str, *, prompt: str, reference: str | None) -> CheckScore:
    """The weighted mean over the criteria that have a check.

    A similarity to a reference does not apply to a prompt that has none: it is left out for every completion of that
    prompt alike, so that completions stay comparable.

    Raises NothingToCheck when no criterion is left.
    """
    scores: dict[str, float] = {}
    weights: list[float] = []
    for criterion in rubric.criteria:
        if criterion.check is None or _lacks_reference(criterion.check, reference):
            continue
        scores[criterion.name] = score_check(criterion.check, completion, prompt=prompt, reference=reference)
        weights.append(criterion.weight)
    if not scores:
        raise NothingToCheck(
            "the rubric has no criterion that a program can check here: give a criterion a `check`, "
            "or the prompt a reference, or use a judge that reads descriptions"
        )
    weighted = math.fsum(weight * score for weight, score in zip(weights, scores.values(), strict=True))
    return CheckScore(min(weighted / math.fsum(weights), 1.0), scores)


def score_check(check: Check, completion: str, *, prompt: str, reference: str | None) -> float:
    """One check's score in [0, 1], as defined in `app.rlaif.rubric`."""
    match check:
        case WordsCheck():
            return _words(check, completion)
        case PatternCheck():
            return _pattern(check, completion)
        case LengthCheck():
            return _length(check, completion)
        case JsonSchemaCheck():
            return _json(check, completion)
        case SimilarityCheck():
            return _similarity(check, completion, prompt if check.to == "prompt" else reference or "")
        case RepetitionCheck():
            return _repetition(check, completion)


def validate_rubric(rubric: Rubric) -> None:
    """Raises InvalidRubric at the first check that could not run: a bad pattern, schema or phrase."""
    for criterion in rubric.criteria:
        match criterion.check:
            case WordsCheck() as check:
                _require_phrases(criterion.name, check)
            case PatternCheck(pattern=pattern):
                try:
                    compile_pattern(pattern)
                except InvalidPattern as error:
                    raise InvalidRubric(criterion.name, "check.pattern", str(error)) from error
            case JsonSchemaCheck(json_schema=schema):
                try:
                    compile_schema(_canonical(schema))
                except SchemaRefused as error:
                    raise InvalidRubric(criterion.name, "check.schema", str(error)) from error
            case _:
                pass


def _require_phrases(criterion: str, check: WordsCheck) -> None:
    for field in ("any_of", "all_of", "none_of"):
        if any(not phrase.strip() for phrase in getattr(check, field)):
            raise InvalidRubric(criterion, f"check.{field}", "a phrase is blank: write at least one visible character")


def user_text(messages: Sequence[Message]) -> str:
    """What the user said in a prompt: the text that `similarity` to the prompt compares with."""
    return "\n".join(message.content for message in messages if message.role is Role.USER and message.content)


def answer_text(turns: Sequence[Message]) -> str:
    """What a completion says to the user: its last assistant turn that has content, or nothing."""
    said = (message.content for message in reversed(turns) if message.role is Role.ASSISTANT and message.content)
    return next(said, "")


def _lacks_reference(check: Check, reference: str | None) -> bool:
    return isinstance(check, SimilarityCheck) and check.to == "reference" and not reference


def _words(check: WordsCheck, completion: str) -> float:
    text = _folded(completion)
    holds = (
        (not check.any_of or any(_phrase(phrase).search(text) for phrase in check.any_of))
        and all(_phrase(phrase).search(text) for phrase in check.all_of)
        and not any(_phrase(phrase).search(text) for phrase in check.none_of)
    )
    return float(holds)


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


@lru_cache(maxsize=4096)
def _phrase(phrase: str) -> re.Pattern[str]:
    return re.compile(rf"(?<!\w){re.escape(_folded(phrase))}(?!\w)")


def _pattern(check: PatternCheck, completion: str) -> float:
    return float(found(check.pattern, completion) == check.must_match)


def _length(check: LengthCheck, completion: str) -> float:
    size = _size(check.unit, completion)
    if check.minimum is not None and size < check.minimum:
        return _falling(check.minimum - size, check.minimum)
    if check.maximum is not None and size > check.maximum:
        return _falling(size - check.maximum, check.maximum)
    return 1.0


def _size(unit: str, text: str) -> int:
    if unit == "words":
        return len(text.split())
    if unit == "sentences":
        return sum(1 for part in _SENTENCE_END.split(text) if _WORD.search(part))
    return len(text.strip())


def _falling(excess: float, bound: float) -> float:
    """1 at the bound, 0 at half the bound beyond it."""
    return max(0.0, 1.0 - excess / (bound / 2))


def _json(check: JsonSchemaCheck, completion: str) -> float:
    try:
        value = json.loads(completion, parse_constant=_no_constant, parse_float=_finite, parse_int=_integer)
        return float(compile_schema(_canonical(check.json_schema)).is_valid(value))
    except (ValueError, RecursionError):  # not JSON, or nested past any schema that `schema_guard` lets through
        return 0.0


def _canonical(schema: dict[str, Any]) -> str:
    return json.dumps(schema, sort_keys=True)


def _no_constant(text: str) -> float:
    raise ValueError(f"{text} is not JSON (RFC 8259, section 6)")


def _finite(text: str) -> float:
    if math.isinf(value := float(text)):
        raise ValueError(f"a number of {len(text)} digits is out of range")
    return value


def _integer(text: str) -> int:
    _finite(text)
    return int(text)


def _similarity(check: SimilarityCheck, completion: str, target: str) -> float:
    overlap = _f1(_content_words(completion), _content_words(target))
    return min(max((overlap - check.minimum) / (check.full - check.minimum), 0.0), 1.0)


def _content_words(text: str) -> Counter[str]:
    return Counter(word for word in _WORD.findall(text.casefold()) if word not in STOP_WORDS)


def _f1(found: Counter[str], wanted: Counter[str]) -> float:
    """The harmonic mean of precision and recall over bags of words (as SQuAD scores answers, arXiv 1606.05250)."""
    shared = (found & wanted).total()
    return 2 * shared / (found.total() + wanted.total()) if shared else 0.0


def _repetition(check: RepetitionCheck, completion: str) -> float:
    words = _WORD.findall(completion.casefold())
    ngrams = [tuple(words[start : start + check.ngram]) for start in range(len(words) - check.ngram + 1)]
    if not ngrams:
        return 1.0
    excess = 1 - len(set(ngrams)) / len(ngrams) - check.maximum
    return 1.0 if excess <= 0 else _falling(excess, check.maximum)
