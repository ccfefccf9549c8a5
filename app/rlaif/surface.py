"""How much of a preference shows on the surface: length, layout, openers, refusals. Nothing here reads for meaning.

A reward model finds such short cuts first. What they decide by themselves, it learns instead of what the rubric says.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from app.rlaif.cross_validation import Predict, TooFewPrompts, out_of_fold, prompt_folds
from app.rlaif.logistic import Floats, fit_logistic, sigmoid
from app.rlaif.refusals import is_refusal
from app.rlaif.reliability import correctness

FOLDS = 5
CERTAIN = 0.95
FEWEST = 50
FIRST_WORDS = 20
_PENALTY = 1.0
_STRONGEST = 5

_ITEM = re.compile(r"^\s*(?:[-*+\u2022]|\d+[.)])\s", re.MULTILINE)
_HEADING = re.compile(r"^#{1,6} ", re.MULTILINE)
_WORD = re.compile(r"\w+")

_FEATURES: dict[str, Callable[[str], float]] = {
    "length": lambda text: float(np.log1p(len(text))),
    "lines": lambda text: float(np.log1p(text.count("\n"))),
    "list items": lambda text: float(np.log1p(len(_ITEM.findall(text)))),
    "headings": lambda text: float(np.log1p(len(_HEADING.findall(text)))),
    "bold": lambda text: float(np.log1p(text.count("**"))),
    "code": lambda text: float(np.log1p(text.count("`"))),
    "commas": lambda text: float(np.log1p(text.count(","))),
    "question marks": lambda text: float(np.log1p(text.count("?"))),
    "exclamation marks": lambda text: float(np.log1p(text.count("!"))),
    "quotation marks": lambda text: float(np.log1p(text.count('"'))),
    "digits": lambda text: sum(character.isdigit() for character in text) / (len(text) or 1),
    "capitals": lambda text: sum(character.isupper() for character in text) / (len(text) or 1),
    "ends a sentence": lambda text: float(text.rstrip().endswith((".", "!", "?", '"', ")", "`"))),
    "refusal": lambda text: float(is_refusal(text)),
    "distinct words": lambda text: _distinct(_WORD.findall(text.lower())),
    "empty": lambda text: float(not text.strip()),
}


@dataclass(frozen=True, slots=True)
class SurfacePair:
    """Two texts, and whether the first is preferred: 1 or 0."""

    prompt_id: str
    first: str
    second: str
    outcome: float


@dataclass(frozen=True, slots=True)
class SurfaceFit:
    """What a logistic regression on the surface alone gets right out of fold; `strongest` names its features.

    `separable` is the share of pairs that it decides rightly with more than CERTAIN confidence.
    """

    pairs: int
    accuracy: float
    separable: float
    strongest: tuple[str, ...]


def fit_surface(pairs: Sequence[SurfacePair], *, rng: np.random.Generator) -> SurfaceFit | None:
    """None for fewer than FEWEST pairs, or fewer prompts than FOLDS: too little to tell."""
    if len(pairs) < FEWEST:
        return None
    try:
        folds = prompt_folds([pair.prompt_id for pair in pairs], FOLDS, rng=rng)
    except TooFewPrompts:
        return None
    names, features = _differences(pairs)
    outcomes = np.array([pair.outcome for pair in pairs])
    predicted = out_of_fold(_fit, features, outcomes, folds=folds)
    right = correctness(predicted, outcomes)
    certain = np.maximum(predicted, 1 - predicted) > CERTAIN
    return SurfaceFit(
        pairs=len(pairs),
        accuracy=float(right.mean()),
        separable=float((certain & (right == 1)).mean()),
        strongest=_strongest(names, features, outcomes),
    )


def _fit(features: Floats, outcomes: Floats) -> Predict:
    weights = fit_logistic(features, outcomes, l2=_PENALTY)
    return lambda unseen: sigmoid(unseen @ weights)


def _strongest(names: Sequence[str], features: Floats, outcomes: Floats) -> tuple[str, ...]:
    """What drives the regression on all pairs, the sign saying whether more of it is preferred."""
    weights = fit_logistic(features, outcomes, l2=_PENALTY)
    places = np.argsort(-np.abs(weights), kind="stable")[:_STRONGEST]
    return tuple(f"{'more' if weights[place] > 0 else 'less'} {names[place]}" for place in places if weights[place])


def _differences(pairs: Sequence[SurfacePair]) -> tuple[list[str], Floats]:
    """Feature names and the (n, d) first - second, each column scaled to a root mean square of 1."""
    words = _usual_first_words(pairs)
    names = [*_FEATURES, *(f"opening {word!r}" for word in words)]
    values = np.array([_measured(pair.first, words) - _measured(pair.second, words) for pair in pairs])
    scale = np.sqrt((values**2).mean(axis=0))
    return names, values / np.where(scale > 0, scale, 1.0)


def _measured(text: str, words: Sequence[str]) -> Floats:
    first = _first_word(text)
    return np.array([*(feature(text) for feature in _FEATURES.values()), *(float(first == word) for word in words)])


def _usual_first_words(pairs: Sequence[SurfacePair]) -> list[str]:
    counts = Counter(_first_word(text) for pair in pairs for text in (pair.first, pair.second))
    del counts[""]
    return [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:FIRST_WORDS]]


def _first_word(text: str) -> str:
    match = _WORD.search(text[:200])
    return match[0].lower()[:40] if match else ""


def _distinct(words: Sequence[str]) -> float:
    return len(set(words)) / len(words) if words else 0.0
