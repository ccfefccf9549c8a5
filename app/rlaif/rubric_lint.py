"""Names criteria that a judge cannot apply as they stand, and says why and how to mend them. Asks no model.

A criterion with a check is decided by a program, so its description's vagueness is nobody's; its contradictions are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from app.rlaif.golden import Expected, GoldenExample
from app.rlaif.rubric import Criterion, Rubric
from app.rlaif.rubric_conflicts import conflicts
from app.rlaif.rubric_finding import Finding, FindingKind
from app.rlaif.rubric_wording import (
    Words,
    asks_for_a_degree,
    compound,
    rewards_length,
    template_leftover,
    unmeasurable,
    unquoted,
    vague,
)

DOMINANT_SHARE = 0.7
"""Of the total weight, from which one criterion decides whatever the others say."""


@dataclass(frozen=True, slots=True)
class _Rule:
    find: Callable[[str], Words]
    kind: FindingKind
    why: str
    remedy: str


_TEMPLATE = _Rule(
    template_leftover,
    FindingKind.TEMPLATE_LEFTOVER,
    "it is a place in a template that nobody filled: the judge reads it as it stands",
    "write what was meant; put it in quotation marks if it is meant literally",
)
_RULES = (
    _Rule(
        unmeasurable,
        FindingKind.UNMEASURABLE,
        "neither the prompt nor the response shows it, so a judge can only guess",
        "name what in the response would show it",
    ),
    _Rule(
        rewards_length,
        FindingKind.REWARDS_LENGTH,
        "judges prefer longer answers of themselves, and what is trained on this learns to pad",
        "name the content that must be there, or give a range with a `length` check",
    ),
    _Rule(
        vague,
        FindingKind.VAGUE,
        "every judge fills it with its own taste, so two judges answer different questions",
        "say what a reader would point at in the response, or give examples after a colon, or scale anchors",
    ),
    _Rule(
        compound,
        FindingKind.COMPOUND,
        "it holds two demands: a response that meets one of them has no right answer here",
        "make a criterion of each, with a weight of its own",
    ),
)


def lint(rubric: Rubric) -> tuple[Finding, ...]:
    """Everything worth mending, in the rubric's order. An empty answer is no proof that the rubric is good."""
    found = [*_outside_criteria(rubric)]
    for criterion in rubric.criteria:
        found += _alone(criterion)
    found += conflicts(rubric.criteria)
    found += _dominant(rubric)
    found += _golden_conflicts(rubric.golden_examples)
    return tuple(found)


def _outside_criteria(rubric: Rubric) -> Iterator[Finding]:
    for text in (rubric.description, *rubric.principles):
        if words := template_leftover(text):
            yield Finding(None, _TEMPLATE.kind, words, _TEMPLATE.why, _TEMPLATE.remedy)


def _alone(criterion: Criterion) -> Iterator[Finding]:
    if words := template_leftover(criterion.description):
        yield Finding(criterion.name, _TEMPLATE.kind, words, _TEMPLATE.why, _TEMPLATE.remedy)
    if criterion.check is not None:
        return
    text = unquoted(criterion.description)
    explained: list[str] = []
    for rule in _RULES:
        if rule.kind is FindingKind.VAGUE and len(criterion.anchors) > 1:
            continue
        words = tuple(word for word in dict.fromkeys(rule.find(text)) if not any(word in other for other in explained))
        if words:
            explained += words
            yield Finding(criterion.name, rule.kind, words, rule.why, rule.remedy)
    yield from _anchors(criterion, text)


def _anchors(criterion: Criterion, text: str) -> Iterator[Finding]:
    words = asks_for_a_degree(text)
    if len(criterion.anchors) == 1:
        yield Finding(
            criterion.name,
            FindingKind.MISSING_ANCHORS,
            (f"score {criterion.anchors[0].score}",),
            "one anchor fixes no scale: the judge invents the other end",
            "describe at least a low and a high score",
        )
    elif words and not criterion.anchors:
        yield Finding(
            criterion.name,
            FindingKind.MISSING_ANCHORS,
            words,
            "it asks for a degree and does not say what the degrees look like: pointwise scores drift between judges",
            "add `anchors` for a low, a middle and a high score, or ask for something that is there or is not",
        )


def _dominant(rubric: Rubric) -> Iterator[Finding]:
    total = math.fsum(criterion.weight for criterion in rubric.criteria)
    for criterion in rubric.criteria if len(rubric.criteria) > 1 else ():
        if criterion.weight > DOMINANT_SHARE * total:
            yield Finding(
                criterion.name,
                FindingKind.DOMINANT_WEIGHT,
                (f"weight {criterion.weight:g} of {total:g}",),
                "it outweighs all the others together more than twice, so they hardly ever decide",
                "lower its weight, or leave the others out if they are not meant to count",
            )


def _golden_conflicts(examples: tuple[GoldenExample, ...]) -> Iterator[Finding]:
    """The same pair with two right answers: one of the two tests always fails."""
    for index, example in enumerate(examples):
        for earlier in examples[:index]:
            if (expected := _expected_as(earlier, example)) not in (None, example.expected):
                yield Finding(
                    None,
                    FindingKind.CONTRADICTORY,
                    (earlier.name, example.name),
                    f"the golden examples hold the same pair, and expect {expected} and {example.expected} of it",
                    "keep the one that is right",
                )


def _expected_as(earlier: GoldenExample, example: GoldenExample) -> Expected | None:
    """What `earlier` expects, in the numbering of `example`; None where it is about another pair."""
    if (earlier.messages(), earlier.tools, earlier.reference) != (
        example.messages(),
        example.tools,
        example.reference,
    ):
        return None
    if (earlier.first, earlier.second) == (example.first, example.second):
        return earlier.expected
    if (earlier.first, earlier.second) == (example.second, example.first):
        return {Expected.A: Expected.B, Expected.B: Expected.A}.get(earlier.expected, earlier.expected)
    return None
