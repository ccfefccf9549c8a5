"""What the two training stages share: the optimiser's settings, and how a training's end becomes the stage's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from app.rlaif.recipe import PolicyConfig, RewardModelConfig
from app.rlaif.seeds import derive_seed
from workers.stages.contract import GiveBack, StageContext, StageRefused
from workers.training.contracts import (
    NonFiniteLoss,
    NoTrainingData,
    StateMismatch,
    TemplateRewritesPrompt,
    TrainingStopped,
)

OUTPUT = "model"
"""The directory in the stage's scratch where training writes, and keeps what it resumes from."""


def optimisation(context: StageContext, config: PolicyConfig | RewardModelConfig) -> dict[str, Any]:
    """The recipe's settings by the trainer's names, and the seed of this stage."""
    settings = config.model_dump(exclude={"method"})
    return settings | {"seed": derive_seed(context.work.recipe.seed, context.work.round, context.work.kind)}


@contextmanager
def ends_explained() -> Iterator[None]:
    """Training errors as the stage's: stopped is given back; what no repetition can mend is refused."""
    try:
        yield
    except TrainingStopped as error:
        raise GiveBack("stopped", str(error)) from error
    except NonFiniteLoss as error:
        raise StageRefused("non_finite_loss", str(error)) from error
    except NoTrainingData as error:
        raise StageRefused("no_training_data", str(error)) from error
    except TemplateRewritesPrompt as error:
        raise StageRefused("template_rewrites_prompt", str(error)) from error
    except StateMismatch as error:
        raise StageRefused("state_mismatch", str(error)) from error
