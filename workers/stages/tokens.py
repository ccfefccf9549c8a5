"""Token ids without torch: enough to measure a text and to see where two texts are cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Self

from tokenizers import Tokenizer as FastTokenizer

from workers.stages.contract import StageContext
from workers.stages.weights import verified_file


class Tokenizer:
    """The tokenizer of a model directory."""

    def __init__(self, fast: FastTokenizer) -> None:
        self._fast = fast

    @classmethod
    def load(cls, context: StageContext, storage_key: str) -> Self:
        """Raises StageRefused for a model without tokenizer.json, or with a damaged one."""
        return cls(FastTokenizer.from_file(str(verified_file(context, storage_key, "tokenizer.json"))))

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._fast.encode(text, add_special_tokens=False).ids
        return ids

    def count_messages(self, messages: Sequence[dict[str, Any]]) -> int:
        """Tokens of what the messages say. A chat template adds a few to each, which only training counts exactly."""
        return sum(len(self.encode(_said(message))) for message in messages)


def _said(message: dict[str, Any]) -> str:
    calls = message.get("tool_calls")
    return (message.get("content") or "") + (json.dumps(calls) if calls else "")
