"""The card that goes with a checkpoint: nobody's text leaves its place, and the file says nothing that changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import yaml

from app.rlaif.evidence import EvaluationMetrics, Promotion, Reason
from app.rlaif.model_card import CardEvaluation, CardFacts, model_card
from tests.unit.test_report import evaluation

HOSTILE = 'x"\n---\nlicense: mit\n<script>|`# base'
FILE = CardFacts(
    kind="policy",
    steps=128,
    base_family="tiny",
    base_digest="b" * 64,
    architecture="LlamaForCausalLM",
    settings={"method": "dpo", "beta": 0.1, "lora": None, "seed": 7},
    metrics={"margin": 1.25, "accuracy": 0.9, "tokens_per_second": 812.0, "resumed_from": None},
    lineage={"preferences": 96, "preferences_digest": "p" * 64, "recipe_hash": "r" * 64, "rubric_hash": None},
)
KNOWN = replace(
    FILE,
    name=HOSTILE,
    places={"checkpoint": "checkpoint_1", "run": "run_1", "base model": HOSTILE},
    evaluations=(CardEvaluation("measurer", "run_1", EvaluationMetrics.model_validate(evaluation())),),
    promotion=Promotion(promoted=False, reasons=[Reason(gate="minimum_win_rate", held=False, detail="too low")]),
)


def front_matter(card: str) -> dict[str, object]:
    _, matter, _ = card.split("---\n", 2)
    found = yaml.safe_load(matter)
    assert isinstance(found, dict)
    return found


def test_front_matter_is_what_a_hub_reads() -> None:
    assert front_matter(model_card(FILE)) == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["rlaif", "dpo"],
    }


def test_a_name_stays_in_its_place() -> None:
    card = model_card(KNOWN)
    assert front_matter(card)["base_model"] == HOSTILE
    assert card.count("\n---\n") == 1
    assert "\nlicense: mit" not in card.split("---\n", 2)[2]
    assert "<script>" not in card.split("---\n", 2)[2]


def test_says_how_it_was_trained_and_from_what() -> None:
    card = model_card(FILE)
    assert "| beta | 0.1 |" in card
    assert "| lora |" not in card
    assert "| number of preferences | 96 |" in card
    assert "| margin | 1.25 |" in card


def test_the_file_holds_only_what_its_content_determines() -> None:
    faster = replace(FILE, metrics={**FILE.metrics, "tokens_per_second": 1.0, "resumed_from": 64})
    assert model_card(FILE) == model_card(faster)


def test_evaluations_stand_with_interval_judge_and_decision() -> None:
    card = model_card(KNOWN)
    assert "| measurer | all | 0.780 | 0.720 to 0.840 | - | 96 |" in card
    assert "held back" in card
    assert "minimum\\_win\\_rate: too low" in card
    assert "Not measured when" not in card


@pytest.mark.parametrize("kind", ["policy", "reward_model", "warm_start"])
def test_every_kind_says_how_to_load_it(kind: str) -> None:
    assert "from_pretrained" in model_card(replace(FILE, kind=kind))


def test_a_circular_measurement_is_called_so() -> None:
    circular = EvaluationMetrics.model_validate(evaluation(circular=True))
    assert "circular" in model_card(replace(KNOWN, evaluations=(CardEvaluation("same", "run_1", circular),)))
