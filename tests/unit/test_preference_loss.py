"""What a recipe says of a loss is what the loss reads: defaults that suit it, and an error for anything else."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.rlaif.preference_loss import LOSS_SETTINGS, PreferenceLoss
from app.rlaif.recipe import Recipe
from app.rlaif.training import PolicyConfig


@pytest.mark.parametrize("loss", sorted(PreferenceLoss))
def test_defaults_are_those_of_the_loss(loss: PreferenceLoss) -> None:
    policy = PolicyConfig.model_validate({"loss": loss.value})
    settings = LOSS_SETTINGS[loss]
    assert (policy.beta, policy.sft_weight) == (settings.beta, settings.sft_weight)
    assert (policy.gamma, policy.label_smoothing) == (settings.gamma, settings.label_smoothing)


@pytest.mark.parametrize("loss", sorted(PreferenceLoss))
def test_a_stored_recipe_is_read_back_as_it_was(loss: PreferenceLoss) -> None:
    recipe = Recipe.model_validate({"policy": {"loss": loss.value, "beta": 0.7}})
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize(
    ("policy", "says"),
    [
        ({"gamma": 1.0}, "gamma is not read by the loss sigmoid; leave it out, or use simpo"),
        ({"loss": "orpo", "gamma": 0.0}, "gamma is not read by the loss orpo"),
        ({"loss": "ipo", "label_smoothing": 0.1}, "label_smoothing is not read by the loss ipo; .* sigmoid or robust"),
        ({"loss": "robust", "label_smoothing": 0.5}, "less than 0.5"),
        ({"loss": "kto", "batch_size": 1}, "batch_size must be at least 2"),
        ({"loss": "dpo"}, "'sigmoid'"),
        ({"loss": ["sigmoid"]}, "'sigmoid'"),
        ({"loss": "simpo", "beta": None}, "beta"),
    ],
)
def test_what_the_loss_does_not_read_is_an_error(policy: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        PolicyConfig.model_validate(policy)
