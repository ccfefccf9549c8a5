"""What a stored reply answers: the key is of everything that determined it, and of nothing else. Pure."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from decimal import Decimal

from app.rlaif.judges import RemoteJudge
from app.rlaif.questions import AnswerFormat
from app.rlaif.replies import Reply


@dataclass(frozen=True, slots=True)
class Remembered:
    """A reply, and what it took when it was asked for."""

    reply: Reply
    prompt_tokens: int
    completion_tokens: int
    cost_usd: Decimal


@dataclass(frozen=True, slots=True)
class Kept:
    """A reply under its key."""

    key: bytes
    remembered: Remembered


HOW_IT_IS_ASKED = frozenset(
    {
        "family",
        "secret",
        "max_concurrency",
        "max_attempts",
        "timeout_s",
        "question_timeout_s",
        "outage_after",
        "requests_per_minute",
        "tokens_per_minute",
        "usd_per_million_input_tokens",
        "usd_per_million_output_tokens",
        "usd_per_million_cached_input_tokens",
    }
)
"""Of a judge's configuration, what leaves its replies as they are; a field that is not listed here is in the key."""


def asker(spec: RemoteJudge, format_: AnswerFormat) -> bytes:
    """The part of the key that all questions of one judge and one form of answer share: address, model, parameters."""
    content = [
        spec.model_dump(mode="json", exclude=set(HOW_IT_IS_ASKED)),
        format_.schema,
        format_.options,
        format_.room,
    ]
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).digest()


def reply_key(asked_by: bytes, prompt_hash: str, repeat: int) -> bytes:
    """32 bytes. `prompt_hash` is of the messages to the letter; each repeat has a reply of its own."""
    return hashlib.sha256(b"%b %b %d" % (asked_by, prompt_hash.encode(), repeat)).digest()
