"""A recipe's hash is that of what determines a result."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.rlaif.recipe import Recipe, StageKind


@pytest.mark.parametrize(
    "change",
    [
        {"budget": {"judge_usd": 5.0, "compute_seconds": 60.0}},
        {"max_attempts": 9},
        {"stop_after": "policy"},
        {"sample": {"prompts_per_shard": 3}, "judge": {"prompts_per_shard": 3}},
        {"reward_model": {"save_steps": 3}, "policy": {"save_steps": 3}},
    ],
)
def test_how_a_run_is_carried_out_is_not_hashed(change: dict[str, Any]) -> None:
    assert Recipe.model_validate(change).content_hash() == Recipe().content_hash()


@pytest.mark.parametrize(
    "change",
    [{"seed": 1}, {"sample": {"temperature": 0.5}}, {"judge": {"repeats": 2}}, {"policy": {"beta": 0.2}}],
)
def test_what_determines_the_result_is(change: dict[str, Any]) -> None:
    assert Recipe.model_validate(change).content_hash() != Recipe().content_hash()


def test_a_recipe_that_was_stored_before_calibrations_came_keeps_its_hash() -> None:
    stored = Recipe().model_dump(mode="json")
    del stored["calibrate"]
    assert Recipe.model_validate(stored).content_hash() == Recipe().content_hash()


def test_a_run_has_something_to_do() -> None:
    with pytest.raises(ValidationError, match="set warm_start, or stop later"):
        Recipe.model_validate({"stop_after": "warm_start"})
    assert Recipe.model_validate({"stop_after": "warm_start", "warm_start": {}}).stages() == (StageKind.WARM_START,)


@pytest.mark.parametrize(
    "recipe",
    [
        {"calibrate": {}},
        {"stop_after": "calibrate"},
        {"stop_after": "calibrate", "calibrate": {}, "sample": {"source": "model"}},
    ],
)
def test_a_calibration_is_whole_or_none(recipe: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="calibration"):
        Recipe.model_validate(recipe)
