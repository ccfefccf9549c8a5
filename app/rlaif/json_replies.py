"""Reads a reply that should be one JSON object, strictly: what is not exactly that is not read at all."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from app.rlaif.replies import ReplyToken

_FENCED = re.compile(r"```(?:json)?\s*(.*?)\s*```", re.DOTALL)


def json_object(text: str, *, keys: frozenset[str]) -> dict[str, Any] | None:
    """The object with these very keys, bare or in one code fence; None for anything else, also a key given twice."""
    fenced = _FENCED.fullmatch(text)
    try:
        value = json.loads(fenced[1] if fenced else text, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and value.keys() == keys else None


def after_key(tokens: Sequence[ReplyToken], key: str) -> tuple[ReplyToken, ...]:
    """The tokens behind the last place where the reply names the key: those of its value, where it comes last."""
    start = "".join(token.text for token in tokens).rfind(f'"{key}"') + len(key) + 2
    place = 0
    for number, token in enumerate(tokens):
        if place >= start:
            return tuple(tokens[number:])
        place += len(token.text)
    return ()


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("a key appears twice in one object")
    return value
