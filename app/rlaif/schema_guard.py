"""Compiles a client's JSON schema, refusing those whose evaluation could fetch, recurse without end or explode.

What passes is evaluated in time bounded by its expanded size times the instance's: references are local and acyclic,
patterns run on RE2, and the keywords that evaluate a schema repeatedly are not available.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, cast

import jsonschema
from jsonschema.protocols import Validator

from app.rlaif.patterns import InvalidPattern, compile_pattern, found

MAX_EXPANDED = 20_000
_NAMED = frozenset({"properties", "$defs", "definitions", "dependentSchemas"})
_DATA = frozenset({"const", "enum", "default", "examples", "required", "dependentRequired"})
_REFUSED = {
    "$dynamicRef": "write `$ref` to a local definition",
    "$recursiveRef": "write `$ref` to a local definition",
    "$id": "leave it out: the schema is its own base",
    "patternProperties": "use `properties`, or `propertyNames` with a `pattern`",
    "unevaluatedItems": "use `items: false`",
    "unevaluatedProperties": "use `additionalProperties`",
}


class SchemaRefused(ValueError):
    """The schema is not JSON Schema (2020-12), or its evaluation could not be bounded; the message says the remedy."""


@lru_cache(maxsize=256)
def compile_schema(text: str) -> Validator:
    """The validator of a schema given as JSON text. Raises SchemaRefused."""
    schema = json.loads(text)
    try:
        jsonschema.Draft202012Validator.check_schema(schema, format_checker=jsonschema.FormatChecker(()))
    except jsonschema.SchemaError as error:
        raise SchemaRefused(f"not a JSON schema (2020-12): {error.message} at {error.json_path}") from error
    except RecursionError as error:
        raise SchemaRefused("the schema is nested too deeply: flatten it with `$defs`") from error
    if (size := _Expansion(schema).size()) > MAX_EXPANDED:
        raise SchemaRefused(f"the schema expands to {size} parts, more than {MAX_EXPANDED}: repeat `$ref` less often")
    return cast(Validator, _BoundedValidator(schema))


class _Expansion:
    """Counts the subschemas that one evaluation can meet, each reference counted at its full size."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._sizes: dict[str, int] = {}
        self._open: list[str] = []

    def size(self) -> int:
        # Definitions nobody refers to are still walked, so that a refused keyword cannot hide in one.
        return self._size(self._root)

    def _size(self, schema: Any) -> int:
        if isinstance(schema, list):
            return sum(self._size(item) for item in schema)
        if not isinstance(schema, dict):
            return 1
        return 1 + sum(self._keyword(keyword, value) for keyword, value in schema.items())

    def _keyword(self, keyword: str, value: Any) -> int:
        if keyword in _REFUSED:
            raise SchemaRefused(f"{keyword} is not available in a check: {_REFUSED[keyword]}")
        if keyword == "$ref":
            return self._reference(value)
        if keyword == "pattern":
            _require_pattern(value)
        if keyword in _NAMED:
            return sum(self._size(subschema) for subschema in value.values())
        return 0 if keyword in _DATA else self._size(value)

    def _reference(self, reference: str) -> int:
        if reference in self._open:
            raise SchemaRefused(f"$ref {reference!r} leads back to itself: recursive schemas are not available")
        if reference not in self._sizes:
            self._open.append(reference)
            self._sizes[reference] = self._size(self._target(reference))
            self._open.pop()
        return self._sizes[reference]

    def _target(self, reference: str) -> Any:
        place, _, name = reference.removeprefix("#/").partition("/")
        if not reference.startswith("#/") or place not in ("$defs", "definitions"):
            raise SchemaRefused(f"$ref {reference!r} is not a local definition: write #/$defs/NAME")
        definitions = self._root.get(place, {})
        if name not in definitions:
            raise SchemaRefused(f"$ref {reference!r} points to nothing: define it under {place}")
        return definitions[name]


def _require_pattern(pattern: str) -> None:
    try:
        compile_pattern(pattern)
    except InvalidPattern as error:
        raise SchemaRefused(f"pattern {error}") from error


def _matches(
    validator: Validator, pattern: str, instance: object, _schema: object
) -> Iterator[jsonschema.ValidationError]:
    """The `pattern` keyword on RE2 instead of `re`."""
    if isinstance(instance, str) and not found(pattern, instance):
        yield jsonschema.ValidationError(f"a string does not match {pattern!r}")


_BoundedValidator = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator, {"pattern": _matches}
)
