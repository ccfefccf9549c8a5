"""Rubrics: what "better" means, as weighted atomic criteria, each judged by an AI or checked by a program."""

from __future__ import annotations

import hashlib
import json
import operator
from collections.abc import Iterable
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints, model_validator

from app.rlaif.golden import GoldenExample, Name

Text = Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
Words = Annotated[tuple[Annotated[str, StringConstraints(min_length=1, max_length=200)], ...], Field(max_length=1000)]
Weight = Annotated[float, Field(strict=True, gt=0, le=100, allow_inf_nan=False)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class WordsCheck(_Part):
    """1 if every stated condition holds, else 0. Whole words or phrases, case-insensitive."""

    kind: Literal["words"]
    any_of: Words = ()
    all_of: Words = ()
    none_of: Words = ()

    @model_validator(mode="after")
    def _states_something(self) -> Self:
        if not (self.any_of or self.all_of or self.none_of):
            raise ValueError("a words check needs any_of, all_of or none_of")
        return self


class PatternCheck(_Part):
    """1 if the RE2 pattern is found (or, with must_match false, is not found), else 0."""

    kind: Literal["pattern"]
    pattern: Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
    must_match: StrictBool = True


class LengthCheck(_Part):
    """1 inside the range, falling linearly to 0 at half the bound beyond it."""

    kind: Literal["length"]
    unit: Literal["words", "sentences", "characters"]
    minimum: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] | None = None
    maximum: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = None

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.minimum is None and self.maximum is None:
            raise ValueError("a length check needs minimum or maximum")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise ValueError(f"minimum {self.minimum} is above maximum {self.maximum}")
        return self


class JsonSchemaCheck(_Part):
    """1 if the completion is JSON that satisfies the schema, else 0."""

    kind: Literal["json_schema"]
    json_schema: dict[str, Any] = Field(alias="schema")
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, serialize_by_alias=True)


class SimilarityCheck(_Part):
    """F1 of the content words shared with the prompt's reference (or the prompt), [minimum, full] scaled to [0, 1]."""

    kind: Literal["similarity"]
    to: Literal["reference", "prompt"] = "reference"
    minimum: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.0
    full: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.6

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.minimum >= self.full:
            raise ValueError(f"minimum {self.minimum} must be below full {self.full}")
        return self


class RepetitionCheck(_Part):
    """1 while the share of repeated n-grams is at most `maximum`, falling linearly to 0 at half as much again."""

    kind: Literal["repetition"]
    ngram: Annotated[int, Field(strict=True, ge=1, le=10)] = 3
    maximum: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.1


Check = Annotated[
    WordsCheck | PatternCheck | LengthCheck | JsonSchemaCheck | SimilarityCheck | RepetitionCheck,
    Field(discriminator="kind"),
]


class Anchor(_Part):
    """What a response of this score looks like; a judge without it has a scale of its own."""

    score: Annotated[int, Field(strict=True, ge=1, le=10)]
    description: Annotated[str, StringConstraints(min_length=1, max_length=2_000)]


class Criterion(_Part):
    """One atomic demand. With a `check` a program scores it; without, a judge reads the description."""

    name: Name
    description: Text
    weight: Weight = 1.0
    check: Check | None = None
    anchors: Annotated[tuple[Anchor, ...], Field(max_length=10)] = Field(
        (), description="What some of the scores from 1 to 10 look like, lowest first", exclude_if=operator.not_
    )

    @model_validator(mode="after")
    def _anchors_ascend(self) -> Self:
        scores = [anchor.score for anchor in self.anchors]
        if scores != sorted(set(scores)):
            raise ValueError(f"anchors must name each score once, lowest first, not {scores}")
        return self


class Rubric(_Part):
    """The content of one rubric revision.

    What was added to it since the first release is left out of its JSON while unused, so that the hash of content
    that does not use it stays what it was.
    """

    description: Annotated[str, StringConstraints(max_length=20_000)] = ""
    criteria: Annotated[tuple[Criterion, ...], Field(min_length=1, max_length=100)]
    principles: Annotated[tuple[Text, ...], Field(max_length=1000)] = ()
    golden_examples: Annotated[tuple[GoldenExample, ...], Field(max_length=200)] = Field(
        (), description="Pairs whose right answer is known: the rubric's unit tests", exclude_if=operator.not_
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        _require_unique("criteria", (criterion.name for criterion in self.criteria))
        _require_unique("golden_examples", (example.name for example in self.golden_examples))
        return self

    def content_hash(self) -> str:
        """SHA-256 of the canonical JSON: equal content, equal hash."""
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(canonical.encode()).hexdigest()

    def with_criteria(self, extra: tuple[Criterion, ...]) -> Rubric:
        """This rubric with a prompt's own criteria added; a criterion of the same name replaces the rubric's."""
        replaced = {criterion.name for criterion in extra}
        kept = tuple(criterion for criterion in self.criteria if criterion.name not in replaced)
        return self.model_copy(update={"criteria": kept + extra})

    def only(self, criterion: Criterion) -> Rubric:
        """This rubric with one of its criteria alone."""
        return self.model_copy(update={"criteria": (criterion,)})


def _require_unique(part: str, names: Iterable[str]) -> None:
    given = list(names)
    if twice := sorted({name for name in given if given.count(name) > 1}):
        raise ValueError(f"{part}: names must be unique, found twice: {', '.join(twice)}")
