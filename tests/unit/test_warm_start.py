"""How a warm start is told what to learn, and how a model is asked to criticise itself. No model runs here."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.rlaif.critique import CritiqueExample, Dialogue, Ending, Outcome, draw_principle, outcome
from app.rlaif.evidence import WarmStartMetrics
from app.rlaif.pipeline import Inputs, PhaseName, Queue, phases, plan
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.report_text import text_of
from app.rlaif.training import LoraConfig
from app.rlaif.warm_start import ConstitutionalConfig, Demonstrations, DemonstrationsConfig, demonstration
from app.rlaif.warm_start_blocks import warm_start_blocks
from tests.unit.test_report import codes

ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "What is {principle}?"}]
SHOWN = CritiqueExample(prompt="Hi", answer="No.", principle="Be kind.", critique="Unkind.", revision="Hello!")
CRITIC = Dialogue("Criticise by {principle}.", "Revise by {principle}.")
INPUTS = Inputs(train_prompts=5, held_out_prompts=3, judge_is_local=False, evaluation_judge_is_local=False)


def recipe(**warm_start: Any) -> Recipe:
    return Recipe.model_validate({"sample": {"prompts_per_shard": 2}, "warm_start": warm_start})


class TestCritic:
    def test_a_conversation_goes_on_from_the_answer(self) -> None:
        said = CRITIC.revision(ASKED, "An {answer}.", "{revision}", "Too {short}.")
        assert [turn["role"] for turn in said] == ["system", "user", "assistant", "user", "assistant", "user"]
        assert [turn["content"] for turn in said[1:]] == [
            "What is {principle}?",
            "An {answer}.",
            "Criticise by {revision}.",
            "Too {short}.",
            "Revise by {revision}.",
        ]

    @given(answer=st.text(), principle=st.text(), critique=st.text())
    def test_nothing_that_is_inserted_is_interpreted(self, answer: str, principle: str, critique: str) -> None:
        said = CRITIC.revision(ASKED, answer, principle, critique)
        assert [turn["content"] for turn in said[2:]] == [
            answer,
            f"Criticise by {principle}.",
            critique,
            f"Revise by {principle}.",
        ]

    def test_examples_stand_behind_the_system_message(self) -> None:
        shown = Dialogue(CRITIC.critique_request, CRITIC.revision_request, (SHOWN,))
        said = shown.critique(ASKED, "An answer.", "Be brief.")
        assert said[0] == ASKED[0]
        assert [turn["content"] for turn in said[1:7]] == [
            "Hi",
            "No.",
            "Criticise by Be kind..",
            "Unkind.",
            "Revise by Be kind..",
            "Hello!",
        ]
        assert said[7:] == CRITIC.critique(ASKED, "An answer.", "Be brief.")[1:]


class TestPrinciples:
    def test_each_step_draws_anew_and_a_seed_draws_the_same(self) -> None:
        principles = [f"Principle {number}" for number in range(5)]
        drawn = [
            [draw_principle(principles, seed=seed, prompt=str(prompt), step=step) for step in (1, 2)]
            for seed in (7, 7, 8)
            for prompt in range(200)
        ]
        assert drawn[:200] == drawn[200:400] != drawn[400:]
        assert {each for pair in drawn for each in pair} == set(principles)
        same = sum(one == other for one, other in drawn) / len(drawn)
        assert 0.1 < same < 0.3  # one in five by chance


class TestOutcome:
    @pytest.mark.parametrize(
        ("texts", "ending", "expected"),
        [
            ([], None, Outcome.NOT_ANSWERED),
            (["Salt."], Ending.NO_ROOM, Outcome.NO_ROOM),
            (["Salt."], Ending.NO_CRITIQUE, Outcome.NO_CRITIQUE),
            ([" "], Ending.STOP, Outcome.EMPTY),
            (["Salt.", "\n"], Ending.STOP, Outcome.EMPTY),
            (["Salt.", "A mineral.", " Salt.\n"], Ending.LENGTH, Outcome.UNCHANGED),
            (["Salt.", "I'm sorry, but no."], Ending.STOP, Outcome.REFUSAL),
            (["I cannot help.", "Salt is a mineral."], Ending.STOP, Outcome.REVISED),
            (["Salt.", "A mineral."], Ending.NO_ROOM, Outcome.REVISED),
        ],
    )
    def test_the_last_revision_counts(self, texts: list[str], ending: Ending | None, expected: Outcome) -> None:
        assert outcome(texts, ending) is expected

    def test_what_is_dropped_is_the_recipes_choice(self) -> None:
        always = {Outcome.EMPTY, Outcome.NO_ROOM, Outcome.NO_CRITIQUE, Outcome.NOT_ANSWERED}
        assert ConstitutionalConfig().left_out() == always
        chosen = ConstitutionalConfig.model_validate({"unchanged": "drop", "refusals": "drop"}).left_out()
        assert chosen == always | {Outcome.UNCHANGED, Outcome.REFUSAL}


class TestDemonstration:
    PREFERRING = [  # noqa: RUF012  read only
        {"first": 0, "second": 1, "probability": 0.3},
        {"first": 2, "second": 1, "probability": 0.9},
    ]

    @pytest.mark.parametrize(
        ("wanted", "reference", "candidates", "expected"),
        [
            ("reference", "Salt.", ["a", "b", "c"], "Salt."),
            ("reference", None, ["a", "b", "c"], None),
            ("reference", " \n", ["a", "b", "c"], None),
            ("preferred", "Salt.", ["a", "b", "c"], "c"),
            ("either", "Salt.", ["a", "b", "c"], "Salt."),
            ("either", "", ["a", "b", "c"], "c"),
            ("preferred", "Salt.", ["a", "b", [{"role": "assistant", "content": "c"}]], None),
            ("preferred", "Salt.", ["a", "b", " "], None),
        ],
    )
    def test_the_answer_to_learn(
        self, wanted: str, reference: str | None, candidates: list[Any], expected: str | None
    ) -> None:
        found = demonstration(
            Demonstrations(wanted), reference=reference, candidates=candidates, preferences=self.PREFERRING
        )
        assert found == expected

    @pytest.mark.parametrize("preferences", [[], [{"first": 0, "second": 1, "probability": 0.5}]])
    def test_what_prefers_no_side_demonstrates_nothing(self, preferences: list[dict[str, Any]]) -> None:
        asked = {"reference": None, "candidates": ["a", "b"], "preferences": preferences}
        assert demonstration(Demonstrations.PREFERRED, **asked) is None  # type: ignore[arg-type]


class TestRecipe:
    def test_adapters_have_a_rate_of_their_own(self) -> None:
        assert ConstitutionalConfig().learning_rate == 1e-5
        assert ConstitutionalConfig.model_validate({"lora": LoraConfig()}).learning_rate == 1e-4

    def test_a_method_reads_only_its_own_settings(self) -> None:
        assert isinstance(recipe(method="sft").warm_start, DemonstrationsConfig)
        with pytest.raises(ValidationError, match="revisions"):
            recipe(method="sft", revisions=2)
        with pytest.raises(ValidationError, match="demonstrations"):
            recipe(method="constitutional", demonstrations="either")

    def test_a_critique_must_be_told_its_principle(self) -> None:
        with pytest.raises(ValidationError, match=r"names no \{principle\}"):
            recipe(method="constitutional", critique_request="Criticise.")

    def test_room_is_left_for_a_prompt(self) -> None:
        with pytest.raises(ValidationError, match=r"warm_start\.max_length 512 leaves no room"):
            recipe(method="sft", max_length=512)

    def test_how_often_it_is_saved_changes_no_result(self) -> None:
        assert recipe(method="sft").content_hash() == recipe(method="sft", save_steps=7).content_hash()
        assert recipe(method="sft").content_hash() != recipe(method="constitutional").content_hash()

    def test_answers_are_revised_in_ranges_of_both_splits_and_then_learned(self) -> None:
        revising = recipe(method="constitutional")
        found = phases(StageKind.WARM_START, revising, INPUTS)
        assert [(phase.name, phase.queue) for phase in found] == [
            (PhaseName.REVISE, Queue.GPU),
            (PhaseName.TRAIN, Queue.GPU),
        ]
        shards = plan(StageKind.WARM_START, PhaseName.REVISE, revising, INPUTS)
        assert [(shard.payload["split"], shard.units) for shard in shards] == [
            ("train", 2),
            ("train", 2),
            ("train", 1),
            ("held_out", 2),
            ("held_out", 1),
        ]
        assert [phase.name for phase in phases(StageKind.WARM_START, recipe(method="sft"), INPUTS)] == [PhaseName.TRAIN]


def measured(**changes: Any) -> dict[str, Any]:
    likelihood = {"nll": 2.0, "perplexity": 7.39, "tokens": 90, "answers": 4}
    shown = {"prompt_id": "kites-1", "prompt": ASKED, "principle": "Be kind.", "critique": "# Not a heading"}
    return {
        "method": "constitutional",
        "prompts": 10,
        "examples": 8,
        "cut_examples": 1,
        "left_out": {"empty": 2},
        "outcomes": {"revised": 6, "refusal": 2, "empty": 2},
        "before": likelihood,
        "after": likelihood | {"nll": 1.5, "perplexity": 4.48},
        "shown": [shown | {"before": "Old.", "after": "New."}],
        "resumed_from": None,
        "rejected_states": [],
        **changes,
    }


class TestReport:
    def test_shows_what_became_of_the_answers(self) -> None:
        text = text_of(warm_start_blocks(WarmStartMetrics.model_validate(measured())))
        for part in ("8 of 10 train prompts", "1.500 nats a token", "left out, empty", "kites-1", "Be kind.", "New."):
            assert part in text, part
        assert list(warm_start_blocks(None)) == []

    @pytest.mark.parametrize(
        ("code", "changes"),
        [
            ("few_examples", {"examples": 4, "left_out": {"empty": 6}}),
            ("warm_start_unlearned", {"after": {"nll": 2.0, "perplexity": 7.39, "tokens": 90, "answers": 4}}),
            ("revisions_refuse", {"outcomes": {"refusal": 6, "revised": 4}}),
        ],
    )
    def test_doubts(self, code: str, changes: dict[str, Any]) -> None:
        plain = codes(reward_model=None, warm_start=measured())
        assert codes(reward_model=None, warm_start=measured(**changes)) == [*plain, code]

    def test_says_what_the_reward_model_was_measured_on(self) -> None:
        assert "reward_model_on_base_answers" in codes(warm_start=measured())
        assert "reward_model_on_base_answers" not in codes()
