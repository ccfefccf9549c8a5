"""A sweep's candidates: each is a recipe of its own, and a bad one is named before anything is spent."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.rlaif.pipeline import Inputs, PhaseName, plan
from app.rlaif.preference_loss import PreferenceLoss
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.sweep import MOST_CANDIDATES, candidates, evaluated
from app.rlaif.training import PolicyConfig

INPUTS = Inputs(train_prompts=10, held_out_prompts=5, judge_is_local=False, evaluation_judge_is_local=False)


def swept(values: dict[str, list[Any]] | None = None, **sections: Any) -> Recipe:
    return Recipe.model_validate({"sweep": {"policy": values or {"beta": [0.05, 0.2]}}, **sections})


def listed(*settings: dict[str, Any], **sections: Any) -> Recipe:
    return Recipe.model_validate({"sweep": {"candidates": list(settings)}, **sections})


def refusal(sweep: dict[str, Any], **sections: Any) -> tuple[str, str]:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate({"sweep": sweep, **sections})
    (error,) = caught.value.errors()
    return ".".join(map(str, error["loc"])), error["msg"]


def dpo(recipe: Recipe) -> PolicyConfig:
    assert isinstance(recipe.policy, PolicyConfig)
    return recipe.policy


class TestCandidates:
    def test_without_a_sweep_it_is_the_recipe_itself(self) -> None:
        recipe = Recipe()
        assert candidates(recipe) == (recipe,)

    def test_every_combination_the_last_setting_fastest(self) -> None:
        recipe = swept({"beta": [0.05, 0.2], "learning_rate": [1e-6, 3e-6]})
        found = [(dpo(one).beta, dpo(one).learning_rate) for one in candidates(recipe)]
        assert found == [(0.05, 1e-6), (0.05, 3e-6), (0.2, 1e-6), (0.2, 3e-6)]

    def test_a_candidate_is_the_recipe_that_a_run_of_its_own_would_have(self) -> None:
        alone = Recipe.model_validate({"seed": 3, "policy": {"beta": 0.2, "epochs": 1}})
        one = candidates(swept({"beta": [0.1, 0.2]}, seed=3, policy={"epochs": 1}))[1]
        assert (one, one.content_hash()) == (alone, alone.content_hash())

    def test_a_sweep_is_part_of_what_determines_the_result(self) -> None:
        assert swept().content_hash() != Recipe().content_hash()

    def test_a_dot_leads_into_a_part(self) -> None:
        found = [dpo(one) for one in candidates(swept({"lora.rank": [4, 8]}))]
        assert [one.lora and one.lora.rank for one in found] == [4, 8]
        assert {one.learning_rate for one in found} == {1e-5}  # what adapters want

    def test_what_is_there_by_default_is_the_default_of_the_candidates_own_loss(self) -> None:
        plain, simpo = (dpo(one) for one in candidates(swept({"loss": ["sigmoid", "simpo"]})))
        assert (plain.beta, simpo.beta, simpo.gamma) == (0.1, 2.0, 1.0)

    def test_what_is_stated_stays(self) -> None:
        found = [dpo(one) for one in candidates(swept({"loss": ["sigmoid", "simpo"]}, policy={"beta": 0.7}))]
        assert [(one.loss, one.beta) for one in found] == [(PreferenceLoss.SIGMOID, 0.7), (PreferenceLoss.SIMPO, 0.7)]

    def test_listed_candidates_may_be_of_several_methods(self) -> None:
        recipe = listed({}, {"method": "grpo", "steps": 20}, {"method": "rloo"}, policy={"epochs": 1})
        assert [one.policy.method for one in candidates(recipe)] == ["dpo", "grpo", "rloo"]

    def test_it_survives_being_stored(self) -> None:
        recipe = swept({"loss": ["sigmoid", "simpo"], "lora": [None, {"rank": 4}]})
        stored = Recipe.model_validate(recipe.model_dump(mode="json"))
        assert candidates(stored) == candidates(recipe)

    def test_a_judge_that_rewards_one_candidate_rewards(self) -> None:
        rewarded = {"method": "grpo", "reward": {"reward_model": 0.0, "judge": 1.0}}
        assert listed({}, rewarded).rewards_by_judge()
        assert not listed({}, {"method": "grpo"}).rewards_by_judge()


class TestRefusals:
    @pytest.mark.parametrize(
        ("sweep", "field", "said"),
        [
            ({"policy": {"beta": [0.1, -1.0]}}, "sweep.policy.beta", "-1.0 makes candidate 1 no recipe"),
            ({"policy": {"bta": [0.1, 0.2]}}, "sweep.policy.bta", "Extra inputs are not permitted"),
            ({"policy": {"lora.rank": [8, 0]}}, "sweep.policy.lora.rank", "0 makes candidate 1 no recipe"),
            ({"policy": {"gamma": [1.0, 2.0]}}, "sweep.policy.gamma", "not read by the loss sigmoid"),
            ({"policy": {"beta": [0.1, 0.1]}}, "sweep.policy.beta", "candidates 0 and 1 train the same policy"),
            ({"candidates": [{"beta": 0.2}, {"beta": -2}]}, "sweep.candidates.1.beta", "-2 makes candidate 1"),
            ({"candidates": [{}, {"beta": 0.1}]}, "sweep.candidates.1.beta", "train the same policy"),
            ({"policy": {"beta": [0.1]}}, "sweep", "give a setting a second value"),
            ({}, "sweep", "give one of the two"),
            ({"policy": {"beta": [0.1, 0.2]}, "candidates": [{}, {"beta": 1.0}]}, "sweep", "give one of the two"),
        ],
    )
    def test_the_setting_and_its_value_are_named(self, sweep: dict[str, Any], field: str, said: str) -> None:
        found = refusal(sweep)
        assert found[0] == field
        assert said in found[1]

    def test_a_candidate_that_changes_nothing_is_named_by_its_place(self) -> None:
        assert refusal({"candidates": [{"beta": 0.1}, {}]})[0] == "sweep.candidates.1"

    def test_too_many_combinations(self) -> None:
        values = [float(number) for number in range(1, 8)]
        place, said = refusal({"policy": {"beta": values, "epochs": list(range(1, 6))}})
        assert place == "sweep"
        assert f"35 combinations, and {MOST_CANDIDATES} are the most" in said

    def test_a_grid_of_a_million_million_is_counted_and_not_listed(self) -> None:
        values = [float(number) for number in range(1, MOST_CANDIDATES + 1)]
        _, said = refusal({"policy": dict.fromkeys("abcdefgh", values)})
        assert f"{MOST_CANDIDATES**8} combinations" in said

    def test_a_name_that_leads_nowhere_is_no_recursion(self) -> None:
        assert "at most 100 characters" in refusal({"policy": {"a." * 5000: [1, 2]}})[1]

    def test_a_candidate_of_another_number_is_not_evaluated(self) -> None:
        with pytest.raises(ValidationError, match=r"evaluate\.candidate is 2, and the sweep's candidates are 0 to 1"):
            swept(evaluate={"candidate": 2})


class TestPlan:
    def payloads(self, kind: StageKind, phase: PhaseName, recipe: Recipe) -> list[dict[str, Any]]:
        return [shard.payload for shard in plan(kind, phase, recipe, INPUTS)]

    def test_each_candidate_is_trained_and_scored_by_itself(self) -> None:
        each = [{"candidate": 0}, {"candidate": 1}]
        assert self.payloads(StageKind.POLICY, PhaseName.TRAIN, swept()) == each
        assert self.payloads(StageKind.EVALUATE, PhaseName.SCORE, swept()) == each

    def test_each_candidate_answers_every_range(self) -> None:
        held_out = {"split": "held_out", "offset": 0, "limit": 5}
        found = self.payloads(StageKind.EVALUATE, PhaseName.SAMPLE, swept())
        assert found == [held_out | {"candidate": 0}, held_out | {"candidate": 1}]

    def test_what_does_not_tell_them_apart_is_planned_once(self) -> None:
        assert self.payloads(StageKind.EVALUATE, PhaseName.MEASURE, swept()) == [{}]
        assert self.payloads(StageKind.REWARD_MODEL, PhaseName.TRAIN, swept()) == [{}]
        assert all("candidate" not in payload for payload in self.payloads(StageKind.SAMPLE, PhaseName.SAMPLE, swept()))

    def test_one_candidate_is_measured_again_alone(self) -> None:
        recipe = swept(evaluate={"candidate": 1})
        assert evaluated(recipe) == (1,)
        assert [one["candidate"] for one in self.payloads(StageKind.EVALUATE, PhaseName.JUDGE, recipe)] == [1]
        assert self.payloads(StageKind.POLICY, PhaseName.TRAIN, recipe) == [{"candidate": 0}, {"candidate": 1}]
