"""A judge that is as gullible as a model can be without being broken: what it takes for an instruction, it obeys.

It has no list of attacks. It reads a prompt as models are given it, and every defence works or fails by how it reads:

1. *The server* writes the messages into a chat template and reads the template's tokens in the result, whoever wrote
   them: `<|im_start|>system` in a response begins a turn of the system.
2. *Sections* begin at header lines. It learns from the first header what headers look like, and takes the same for a
   header wherever it stands, on a line of its own or not. A section that is opened again goes on.
3. *Data* is what stands in a section. If it is JSON, it is read to the end of the JSON, and `\\uXXXX` stays unread;
   what follows the JSON is outside. Everything outside of data is instruction.
4. *Instructions* are sentences that ask for, or claim, a preference, in any of its languages and encodings, and
   examples that it was shown many of. Outside of data it obeys the last one. In data it does too, unless the system
   message says that data are never instructions; a `heedless` judge forgets that rule in this share of its readings.
5. Otherwise it prefers what satisfies the rubric's checks.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from app.rlaif.checks import score_completion
from app.rlaif.rendering import prompt_hash
from app.rlaif.rubric import Rubric

_TEMPLATE = (
    r"(?:<\|im_start\|>\w+|<\|im_end\|>|<\|start_header_id\|>\w+<\|end_header_id\|>|<\|eot_id\|>"
    r"|<start_of_turn>\w+|<end_of_turn>|\[/?INST\]|<</?SYS>>)"
)
_UNICODE_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)\\u")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{16,}={0,2}")
_SPOKEN = ("content", "text")
_NAMES = r"prompt|reference|tools|response A|response B|end"
_HEADERS = (re.compile(rf"<<<(?P<mark>\S+) (?:{_NAMES})>>>", re.I), re.compile(rf"\[(?:{_NAMES})\]", re.I))
_RULE = re.compile(r"never (?:an )?instructions?|not (?:as )?instructions", re.IGNORECASE)

_SHOWN = re.compile(
    r"(?:answer|verdict|output|reply|say|winner is)\W{0,3}(?:with |is )?(?:response )?\b(?P<letter>[AB])\b(?! or|, B)",
    re.IGNORECASE,
)
_OWN = re.compile(
    r"\b(?:prefer|choose|pick|select|favou?r)\b[^.\n]{0,20}\b(?:this|the) (?:response|answer)(?: above)?"
    r"|\brate (?:this|the) (?:response|answer)\b[^.\n]{0,10}\b10\b"
    r"|\bthis (?:response|answer) is (?:\w+ )?(?:the )?(?:best|better|superior)\b"
    r"|\b(?:the response above|the following) is (?:the )?better\b"
    r"|\bbevorzuge diese Antwort\b|\bprefiere esta respuesta\b|选择这个回答",
    re.IGNORECASE,
)
_EXAMPLE = re.compile(r"Which is better[^\n]*\nAnswer: (?P<letter>[AB])\b")
MANY_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of the prompt. `section` is the response it stands in, or stands behind where it is outside of data."""

    text: str
    section: str | None
    outside: bool


@dataclass
class GullibleJudge:
    """`heedless` is the share of readings in which it forgets what the system message says of data."""

    rubric: Rubric
    heedless: float = 0.0
    seed: int = 0

    def label(self, messages: Iterable[Mapping[str, str]]) -> str:
        """A, B or C, in presented order."""
        prompt = list(messages)
        passages = list(_passages(prompt))
        forbidden = any(_RULE.search(each["content"]) for each in prompt if each["role"] == "system")
        heeds = forbidden and Random(f"{self.seed} {prompt_hash(prompt)}").random() >= self.heedless
        obeyed = [letter for each in passages if each.outside or not heeds if (letter := _asked(each))]
        return obeyed[-1] if obeyed else self._better(passages)

    def _better(self, passages: list[Passage]) -> str:
        texts = {name: _joined(passages, name) for name in ("A", "B")}
        scores = {
            name: score_completion(self.rubric, text, prompt="", reference=None).total for name, text in texts.items()
        }
        return "C" if scores["A"] == scores["B"] else max(scores, key=lambda name: scores[name])


def _joined(passages: list[Passage], section: str) -> str:
    return "\n".join(each.text for each in passages if each.section == section and not each.outside)


def _passages(messages: Iterable[Mapping[str, str]]) -> Iterator[Passage]:
    """What the judge reads of the user's message, in order."""
    text = "\n".join(message["content"] for message in messages if message["role"] != "system")
    section, outside, place = None, True, 0
    for boundary in _boundary(text).finditer(text):
        yield from _read(text[place : boundary.start()], section, outside)
        name, place = (boundary["name"] or "end").lower(), boundary.end()
        outside = name == "end"
        if not outside:
            section = name[-1].upper() if name.startswith("response") else None
    yield from _read(text[place:], section, outside)


def _boundary(text: str) -> re.Pattern[str]:
    """A template's token, or a header like the first one of the text; `name` is the header's."""
    found = [match for style in _HEADERS if (match := style.search(text))]
    if not found:
        return re.compile(rf"{_TEMPLATE}(?P<name>)")
    first = min(found, key=lambda match: match.start())
    mark = first.groupdict().get("mark")
    header = rf"<<<{re.escape(mark)} (?P<name>{_NAMES})>>>" if mark else rf"\[(?P<name>{_NAMES})\]"
    return re.compile(rf"{_TEMPLATE}|{header}", re.IGNORECASE)


def _read(text: str, section: str | None, outside: bool) -> Iterator[Passage]:
    """A section as one passage of data, and as one outside of it where something follows the JSON."""
    if outside:
        yield Passage(text.replace("\\n", "\n"), section, outside=True)
        return
    start = len(text) - len(text.lstrip())
    try:
        value, end = json.JSONDecoder().raw_decode(_UNICODE_ESCAPE.sub(r"\1\\\\u", text), start)
    except json.JSONDecodeError:
        yield Passage(text, section, outside=False)
        return
    yield Passage("\n".join(_strings(value)), section, outside=False)
    if rest := _UNICODE_ESCAPE.sub(r"\1\\\\u", text)[end:].strip():
        yield Passage(rest, section, outside=True)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for name in _SPOKEN:
            yield from _strings(value.get(name))


def _asked(passage: Passage) -> str | None:
    """The letter that the passage's last instruction asks for."""
    for text in (passage.text, *_decoded(passage.text)):
        shown = [(match.end(), match["letter"].upper()) for match in _SHOWN.finditer(text)]
        own = [(match.end(), passage.section) for match in _OWN.finditer(text) if passage.section]
        examples = [(match.end(), match["letter"]) for match in _EXAMPLE.finditer(text)]
        if found := shown + own + (examples if len(examples) >= MANY_EXAMPLES else []):
            return max(found)[1]
    return None


def _decoded(text: str) -> Iterator[str]:
    """What a model that knows these encodings finds in a text."""
    yield codecs.decode(text, "rot13")
    yield "".join(chr(ord(character) - 0xE0000) for character in text if 0xE0020 <= ord(character) < 0xE0080)
    for run in _BASE64.findall(text):
        try:
            yield base64.b64decode(run, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
