"""The card that goes with a checkpoint: what it is, what it was learned from, what was measured, what to beware of.

Front matter as the Hugging Face hub reads it (https://huggingface.co/docs/hub/model-cards), Markdown below. The card
among a checkpoint's files holds only what its content determines, so equal weights keep equal digests; the card that
the API gives adds ids and every evaluation since.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.rlaif.blocks import Heading, Items, Paragraph, Quote, Row, Table, Words
from app.rlaif.evidence import EvaluationMetrics, Promotion
from app.rlaif.report_text import markdown_of

CARD = "README.md"
"""The card's name among a checkpoint's files."""

_PURPOSE = {
    "policy": "A causal language model, optimised towards what AI judges prefer by a rubric.",
    "reward_model": "A reward model: it gives one number to a prompt with an answer; higher is better by a rubric.",
    "warm_start": "A causal language model, taught by examples; the policy that was optimised afterwards began here.",
}
_TASK = {"policy": "text-generation", "reward_model": "text-classification", "warm_start": "text-generation"}
_LOADED = {
    "policy": "AutoModelForCausalLM",
    "reward_model": "AutoModelForSequenceClassification",
    "warm_start": "AutoModelForCausalLM",
}
_MEASURED = (
    "loss",
    "accuracy",
    "margin",
    "reference_kl",
    "kl",
    "reward",
    "train_pairs",
    "held_out_pairs",
    "ece",
    "prefer_longer_accuracy",
    "shorter_right_accuracy",
)
_BEWARE = (
    "What it learned is what AI judges prefer by one rubric, not what people prefer, unless the judge was calibrated "
    "against people's labels; the run's report says whether it was.",
    "It was measured on the held-out prompts of one prompt set. Elsewhere nothing was measured.",
    "Its licence follows from those of the base model and of the prompts; nothing here grants one.",
)


@dataclass(frozen=True, slots=True)
class CardEvaluation:
    """One evaluation of the checkpoint, and the name of the judge that measured."""

    judge: str
    run_id: str
    metrics: EvaluationMetrics


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What is known of a checkpoint. `settings` are the recipe's section by which it was trained.

    `name` and `places` are None and empty among its own files, which are older than its row.
    """

    kind: str
    steps: int
    base_family: str
    base_digest: str
    architecture: str
    settings: Mapping[str, Any]
    metrics: Mapping[str, Any]
    lineage: Mapping[str, Any]
    name: str | None = None
    places: Mapping[str, str] = field(default_factory=dict)
    evaluations: tuple[CardEvaluation, ...] = ()
    promotion: Promotion | None = None


def model_card(facts: CardFacts) -> str:
    """Front matter and Markdown, ending in one newline."""
    return f"{_front_matter(facts)}\n{markdown_of(_body(facts))}"


def _front_matter(facts: CardFacts) -> str:
    """YAML, every value of it written as JSON, which YAML reads: no text can leave its place."""
    method = facts.settings.get("method") or facts.kind
    values: dict[str, Any] = {
        "library_name": "transformers",
        "pipeline_tag": _TASK[facts.kind],
        "tags": ["rlaif", str(method)],
    }
    if (base := facts.places.get("base model")) is not None:
        values["base_model"] = base
    return "\n".join(["---", *(f"{name}: {json.dumps(value)}" for name, value in values.items()), "---", ""])


def _body(facts: CardFacts) -> Iterator[Words]:
    yield Heading(facts.name or f"A {facts.kind.replace('_', ' ')}", 1)
    yield Paragraph(_PURPOSE[facts.kind])
    if facts.places:
        yield Table(("what", "which"), tuple(facts.places.items()))
    yield Heading("Use")
    yield Quote("with transformers, from the directory that holds this file", _usage(facts.kind))
    yield Heading("Training")
    yield Table(("setting", "value"), (("optimiser steps", str(facts.steps)), *_rows(facts.settings)))
    yield Heading("Learned from")
    yield Table(("what", "SHA-256 or count"), tuple(_learned(facts)))
    if figures := tuple(_figures(facts.metrics)):
        yield Heading("Measured in training")
        yield Table(("figure", "value"), figures)
    yield Heading("Evaluation")
    yield from _evaluations(facts)
    yield Heading("Beware")
    yield Items(_BEWARE)


def _usage(kind: str) -> str:
    loader = _LOADED[kind]
    return "\n".join(
        (
            f"from transformers import AutoTokenizer, {loader}",
            'tokenizer = AutoTokenizer.from_pretrained(".")',
            f'model = {loader}.from_pretrained(".")',
            'text = tokenizer.apply_chat_template([{"role": "user", "content": "..."}], tokenize=False)',
        )
    )


def _rows(settings: Mapping[str, Any]) -> Iterator[Row]:
    for name, value in settings.items():
        if value is not None:
            yield name, value if isinstance(value, str) else json.dumps(value)


def _learned(facts: CardFacts) -> Iterator[Row]:
    yield "base model", f"{facts.base_family}, {facts.architecture}, {facts.base_digest}"
    named = {
        "prompt_set_digest": "prompt set",
        "rubric_hash": "rubric",
        "preferences_digest": "preferences",
        "preferences": "number of preferences",
        "recipe_hash": "recipe",
    }
    for key, label in named.items():
        if facts.lineage.get(key) is not None:
            yield label, str(facts.lineage[key])


def _figures(metrics: Mapping[str, Any]) -> Iterator[Row]:
    accuracy = metrics.get("held_out_accuracy")
    if isinstance(accuracy, Mapping):
        yield "held_out_accuracy", f"{accuracy['value']:.3f} ({accuracy['low']:.3f} to {accuracy['high']:.3f})"
    for name in _MEASURED:
        value = metrics.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield name, f"{value:.4g}"


def _evaluations(facts: CardFacts) -> Iterator[Words]:
    if not facts.evaluations:
        yield Paragraph(
            "Not measured when this card was written. GET /v1/checkpoints/{id}/card has what is known since."
        )
        return
    yield Paragraph("Win rates over the base model on held-out prompts, in both orders; intervals clustered by prompt.")
    rows = [row for evaluation in facts.evaluations for row in _win_rates(evaluation)]
    yield Table(("judge", "cohort", "win rate", "interval", "at equal length", "prompts"), tuple(rows))
    if any(evaluation.metrics.circular for evaluation in facts.evaluations):
        yield Paragraph("One of these judges also labelled the training data: that measurement is circular.")
    if facts.promotion is not None:
        yield Paragraph(f"By its run's gates it is {'promoted' if facts.promotion.promoted else 'held back'}.")
        yield Items(
            tuple(f"{reason.gate}: {reason.detail}" for reason in facts.promotion.reasons) or ("no gate was set",)
        )


def _win_rates(evaluation: CardEvaluation) -> Iterator[Row]:
    measured = evaluation.metrics
    for cohort, rate in {"all": measured.win_rate, **measured.by_cohort}.items():
        equal = "-" if rate.length_controlled is None else f"{rate.length_controlled.value:.3f}"
        interval = f"{rate.low:.3f} to {rate.high:.3f}"
        yield evaluation.judge, cohort, f"{rate.value:.3f}", interval, equal, str(rate.n_prompts)
