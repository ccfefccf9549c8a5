"""Data in a judge's prompt: JSON in which nothing stands as a chat template's token, as a delimiter, or unseen.

JSON alone keeps a text on its line. It does not keep `<|im_start|>system` from becoming a turn of its own: servers
write the messages into a template first and read the template's tokens in the result, whoever wrote them.
"""

from __future__ import annotations

import json
import re
from typing import Any

_NAMES = "s|bos|eos|pad|unk|mask|sep|cls|sop|eop|think|tool_call|tool_response|start_of_turn|end_of_turn"
_SUSPECT = re.compile(
    rf"<(?=[|\uff5c]|<<|/?(?:{_NAMES})>|<?/?SYS>)"  # ChatML, Llama 3, DeepSeek; our delimiters; Gemma, Llama 2, Qwen
    r"|\[(?=/?[A-Z][A-Z_]*\])"  # Mistral
    "|[\u0085\u2028\u2029"  # lines for some readers
    "\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"  # unseen
)


def quoted(value: Any) -> str:
    """`value` as one line of JSON that reads back the same; what could be taken for more than data is `\\uXXXX`."""
    return _SUSPECT.sub(_escaped, json.dumps(value, ensure_ascii=False))


def _escaped(match: re.Match[str]) -> str:
    units = match[0].encode("utf-16-be")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))
