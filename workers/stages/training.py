"""What the two training stages share: the optimiser's settings, and how a training's end becomes the stage's."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from app.rlaif.seeds import derive_seed
from app.rlaif.training import TrainingConfig
from workers.stages.contract import GiveBack, StageContext, StageRefused
from workers.training.contracts import (
    MergeDiffers,
    NonFiniteLoss,
    NoTrainingData,
    ProcessesRefused,
    QuantizationUnavailable,
    RewardsMissing,
    StateMismatch,
    TemplateRefusesPrompt,
    TemplateRewritesPrompt,
    TrainingStopped,
    TrainingUnhealthy,
)
from workers.training.launch import Processes, spread

log = logging.getLogger(__name__)
P = ParamSpec("P")
Result = TypeVar("Result")

_REFUSED: dict[type[Exception], str] = {
    MergeDiffers: "merge_differs",
    NonFiniteLoss: "non_finite_loss",
    NoTrainingData: "no_training_data",
    ProcessesRefused: "processes_refused",
    QuantizationUnavailable: "quantization_unavailable",
    RewardsMissing: "rewards_missing",
    TemplateRefusesPrompt: "template_refuses_prompt",
    TemplateRewritesPrompt: "template_rewrites_prompt",
    TrainingUnhealthy: "health_alarm",
}
OUTPUT = "model"
"""The directory in the stage's scratch where training writes, and keeps what it resumes from."""


def optimisation(
    context: StageContext, config: TrainingConfig, *, leaving_out: Collection[str] = ("method",)
) -> dict[str, Any]:
    """The recipe's settings by the trainer's names, and the seed of this stage."""
    settings = {name: getattr(config, name) for name in type(config).model_fields if name not in leaving_out}
    return settings | {"seed": derive_seed(context.work.recipe.seed, context.work.round, context.work.kind)}


def in_processes(context: StageContext, train: Callable[P, Result]) -> Callable[P, Result]:
    """`train`, in as many processes as this deployment trains in."""
    settings = context.settings
    return spread(train, Processes(settings.training_processes, settings.accelerate_config))


@contextmanager
def ends_explained() -> Iterator[None]:
    """Training errors as the stage's: stopped is given back; what no repetition can mend is refused."""
    try:
        yield
    except TrainingStopped as error:
        raise GiveBack("stopped", str(error)) from error
    except tuple(_REFUSED) as error:
        raise StageRefused(_REFUSED[type(error)], str(error)) from error


def trained(train: Callable[[], Result], directory: Path) -> Result:
    """What `train` returns. Raises GiveBack, StageRefused.

    A state in `directory` that was saved under other settings (by another version, before an upgrade) is another
    training's: it is discarded and training begins anew.
    """
    with ends_explained():
        try:
            return train()
        except StateMismatch as error:
            log.warning("%s; beginning anew", error)
            shutil.rmtree(directory)
            return train()
