"""Looks at a tokenizer.json without the library that loads it: its model, vocabulary and merges must belong together.

The rules are those by which `tokenizers` refuses a file (huggingface/tokenizers, src/models/*/serialization.rs).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_VERSION = "1.0"
_KINDS = ("BPE", "Unigram", "WordLevel", "WordPiece")
_IDS = range(2**32)


class InvalidTokenizer(ValueError):
    """The document is no tokenizer that could be loaded; the message says why."""


def require_tokenizer(document: Any) -> None:
    """Raises InvalidTokenizer."""
    if not isinstance(document, dict) or not isinstance(document.get("model"), dict):
        raise InvalidTokenizer("it has no `model` object, so it is not a tokenizer")
    if (version := document.get("version", _VERSION)) != _VERSION:
        raise InvalidTokenizer(f"version {str(version)[:100]!r} is unknown; known: {_VERSION}")
    model = document["model"]
    kind = model.get("type", "BPE" if "merges" in model else None)
    if kind not in _KINDS:
        raise InvalidTokenizer(f"model.type {str(kind)[:100]!r} is unknown; known: {', '.join(_KINDS)}")
    if kind == "Unigram":
        _require_scores(model.get("vocab"))
    else:
        _require_ids(model.get("vocab"))
    if kind == "BPE":
        _require_merges(model, model["vocab"])


def _require_ids(vocabulary: Any) -> None:
    if not isinstance(vocabulary, dict) or not vocabulary:
        raise InvalidTokenizer("model.vocab is missing, empty or not an object of tokens and their ids")
    for token, id_ in vocabulary.items():
        if type(id_) is not int or id_ not in _IDS:
            raise InvalidTokenizer(f"model.vocab gives {token[:100]!r} the id {str(id_)[:100]}, which is no token id")


def _require_scores(vocabulary: Any) -> None:
    if not isinstance(vocabulary, list) or not vocabulary:
        raise InvalidTokenizer("model.vocab is missing, empty or not a list of tokens and their scores")
    for entry in vocabulary:
        if not (isinstance(entry, list) and [_is_text(part) for part in entry] == [True, False]):
            raise InvalidTokenizer(f"model.vocab holds {str(entry)[:100]}, which is no token with a score")
        if not isinstance(entry[1], int | float) or isinstance(entry[1], bool):
            raise InvalidTokenizer(f"model.vocab gives {entry[0][:100]!r} the score {str(entry[1])[:100]}")


def _require_merges(model: dict[str, Any], vocabulary: dict[str, int]) -> None:
    merges, prefix = model.get("merges"), model.get("continuing_subword_prefix") or ""
    if not isinstance(merges, list) or not isinstance(prefix, str):
        raise InvalidTokenizer("model.merges is missing or not a list of pairs of tokens")
    for left, right in _pairs(merges):
        for token in (left, right, left + right[len(prefix) :]):
            if token not in vocabulary:
                raise InvalidTokenizer(f"model.merges makes or uses {token[:100]!r}, which model.vocab does not have")


def _pairs(merges: list[Any]) -> Iterator[tuple[str, str]]:
    """Each merge's two tokens: written as "a b", or as ["a", "b"] where tokens may hold a space."""
    for merge in merges:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(map(_is_text, pair)):
            raise InvalidTokenizer(f"model.merges holds {str(merge)[:100]!r}, which is no pair of tokens")
        yield pair[0], pair[1]


def _is_text(value: Any) -> bool:
    return isinstance(value, str)
