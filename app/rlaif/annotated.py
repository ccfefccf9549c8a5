"""Annotated pairs and annotated prompts: the same labels, as people gave them and as a prompt set holds them.

What a candidate is, a text or a list of turns, is the prompt's business; here two are the same when their JSON is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from app.rlaif.annotation import GivenAnswer
from app.rlaif.prompt import MOST_CANDIDATES, Prompt

_ABOUT_CANDIDATES = {"candidates", "authors", "preferences", "annotations", "outcomes"}


@dataclass(frozen=True, slots=True)
class AnnotatedPair:
    """Two candidates of one prompt and what people answered: A is the first. `prompt` holds a Prompt's other fields.

    Pairs of one prompt share its `prompt_key`; where its author gave it an id, that is a part of what it is: a data set
    may ask the same twice. `authors` are families of models, None where unknown.
    """

    prompt_key: str
    prompt: Mapping[str, Any]
    candidates: tuple[Any, Any]
    authors: tuple[str | None, str | None]
    given: tuple[GivenAnswer, ...]

    @property
    def content_hash(self) -> str:
        return _digest([self.prompt_key, *self.candidates])


def pairs_of(prompt: Prompt) -> Iterator[AnnotatedPair]:
    """The pairs of a prompt's candidates that have annotations, the lower index first; answers are turned to match."""
    fields = prompt.model_dump(mode="json", exclude_none=True, exclude=_ABOUT_CANDIDATES)
    candidates = prompt.model_dump(mode="json", exclude_none=True, include={"candidates"})["candidates"]
    authors = prompt.authors or (None,) * len(candidates)
    given: dict[tuple[int, int], list[GivenAnswer]] = {}
    for known in prompt.annotations:
        low, high = sorted((known.first, known.second))
        answer = known.answer if known.first == low else known.answer.swap()
        given.setdefault((low, high), []).append(GivenAnswer(known.annotator, answer, known.adjudication))
    for (low, high), answers in sorted(given.items()):
        yield AnnotatedPair(
            prompt_key=_digest(fields),
            prompt=fields,
            candidates=(candidates[low], candidates[high]),
            authors=(authors[low], authors[high]),
            given=tuple(answers),
        )


def annotated_prompts(pairs: Iterable[AnnotatedPair]) -> Iterator[dict[str, Any]]:
    """Prompts that hold the pairs' candidates and annotations, in the shape of an upload.

    Pairs of one prompt come one after another. A pair that does not fit beside the others, because a prompt holds so
    many candidates or one person answered twice about the same two texts, begins the prompt again under another id.
    Two candidates that are the same have nothing to tell apart and are left out.
    """
    differing = (pair for pair in pairs if _canonical(pair.candidates[0]) != _canonical(pair.candidates[1]))
    for key, group in groupby(differing, key=lambda pair: pair.prompt_key):
        begun = _AnnotatedPrompt()
        parts = 0
        for pair in group:
            if not begun.fits(pair):
                yield begun.as_dict(f"{key}/{parts}" if parts else key)
                begun, parts = _AnnotatedPrompt(), parts + 1
            begun.add(pair)
        yield begun.as_dict(f"{key}/{parts}" if parts else key)


@dataclass(slots=True)
class _AnnotatedPrompt:
    prompt: Mapping[str, Any] = field(default_factory=dict)
    places: dict[str, int] = field(default_factory=dict)  # a candidate's JSON -> its index
    candidates: list[Any] = field(default_factory=list)
    authors: list[str | None] = field(default_factory=list)
    annotations: dict[tuple[frozenset[int], str], dict[str, Any]] = field(default_factory=dict)

    def fits(self, pair: AnnotatedPair) -> bool:
        new = {_canonical(candidate) for candidate in pair.candidates} - self.places.keys()
        if len(self.places) + len(new) > MOST_CANDIDATES:
            return False
        if new:
            return True
        both = frozenset(self.places[_canonical(candidate)] for candidate in pair.candidates)
        return all((both, each.annotator) not in self.annotations for each in pair.given)

    def add(self, pair: AnnotatedPair) -> None:
        self.prompt = pair.prompt
        first, second = (self._place(*each) for each in zip(pair.candidates, pair.authors, strict=True))
        for each in pair.given:
            self.annotations[frozenset((first, second)), each.annotator] = {
                "first": first,
                "second": second,
                "annotator": each.annotator,
                "answer": each.answer.value,
                "adjudication": each.adjudication,
            }

    def as_dict(self, id_: str) -> dict[str, Any]:
        return {
            **self.prompt,
            "id": id_,
            "candidates": self.candidates,
            "authors": self.authors,
            "annotations": list(self.annotations.values()),
        }

    def _place(self, candidate: Any, author: str | None) -> int:
        place = self.places.setdefault(_canonical(candidate), len(self.candidates))
        if place == len(self.candidates):
            self.candidates.append(candidate)
            self.authors.append(author)
        return place


def _canonical(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def _digest(value: Any) -> str:
    return hashlib.sha256(_canonical(value).encode()).hexdigest()
