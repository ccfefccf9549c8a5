"""Ratings from 1 to 10: read from a reply by their expected value, and turned into a preference between two."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence

from app.rlaif.replies import ReplyToken, bare

POINTS = tuple(range(1, 11))
OPTIONS = tuple(map(str, POINTS))
MIDDLE, HALF_RANGE = 5.5, 4.5
"""What brings the scale to [-1, 1], as d-RLAIF (arXiv 2309.00267) does."""
POINTS_SCALE = 1.0
"""How many points more make a completion the better one at odds of e to 1."""
_NUMBER = re.compile(r"(?:(?:score|rating|answer)\s*:?\s*)?[\s\[(*`\"']*(10|[1-9])[\s\])*`\"'.]*", re.IGNORECASE)


def parse_points(text: str) -> int | None:
    """The number that a text states; None unless it is one whole number from 1 to 10 and no more."""
    found = _NUMBER.fullmatch(text)
    return None if found is None else int(found[1])


def preferred(first: float, second: float) -> float:
    """P(the first is better) for two ratings; one half for equal ones."""
    return sigmoid((first - second) / POINTS_SCALE)


def sigmoid(value: float) -> float:
    """The logistic function, without overflow, and exactly 0.5 at 0."""
    if value >= 0:
        return 1.0 / (1.0 + math.exp(-value))
    return 1.0 - 1.0 / (1.0 + math.exp(value))


def expected_points(stated: int, tokens: Sequence[ReplyToken]) -> float:
    """The sum of i * P(i) over what could have stood at the number's place; without log-probabilities, the number.

    Some tokenizers hold 10 as one token, others as `1` and `0`. With these a `1` is the beginning of 10 as well: how
    much of its mass is 10's, the next token's alternatives tell, and where the reply has none, that mass is left out.
    """
    place = _place(stated, [bare(token.text) for token in tokens])
    if place is None:
        return float(stated)
    mass = _mass(tokens[place].alternatives, OPTIONS)
    if mass["10"] == 0.0 and bare(tokens[place].text) == "1":
        mass["1"], mass["10"] = _shared(mass["1"], tokens[place + 1 : place + 2])
    elif mass["10"] == 0.0:
        mass["1"] = 0.0
    total = math.fsum(mass.values())
    return math.fsum(int(number) * share for number, share in mass.items()) / total if total > 0 else float(stated)


def _place(stated: int, texts: Sequence[str]) -> int | None:
    """Where the number begins: its last occurrence."""
    for place in reversed(range(len(texts))):
        if texts[place] == str(stated) or (stated == 10 and texts[place : place + 2] == ["1", "0"]):
            return place
    return None


def _shared(mass: float, following: Sequence[ReplyToken]) -> tuple[float, float]:
    """The mass of a `1`, split between 1 and 10 by what could have followed it."""
    if not following:
        return mass, 0.0
    zero = min(_mass(following[0].alternatives, ("0",))["0"], 1.0)
    return mass * (1.0 - zero), mass * zero


def _mass(alternatives: Mapping[str, float], texts: Sequence[str]) -> dict[str, float]:
    """The probability of each text, its tokens with and without white space added up."""
    mass = dict.fromkeys(texts, 0.0)
    for token, logprob in alternatives.items():
        if (text := bare(token)) in mass:
            mass[text] += math.exp(min(logprob, 0.0))
    return mass
