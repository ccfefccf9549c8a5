"""What every training method takes and raises. Imports no torch, so a stage may name these types."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from app.rlaif.health import Alarm, AlarmKind, HealthConfig
from app.rlaif.training import LoraConfig, Precision
from workers.sampling.engine import Messages, Tools
from workers.sampling.engine import Progress as PlainProgress

__all__ = [
    "Conversation",
    "Demonstration",
    "MergeDiffers",
    "Messages",
    "NoTrainingData",
    "NonFiniteLoss",
    "Optimisation",
    "PreferencePair",
    "ProcessesRefused",
    "Progress",
    "QuantizationUnavailable",
    "RanksFailed",
    "RewardsMissing",
    "StateMismatch",
    "TemplateRefusesPrompt",
    "TemplateRewritesPrompt",
    "Tools",
    "TrainingStopped",
    "TrainingUnhealthy",
    "telling_not_finite",
]


class Progress(PlainProgress, Protocol):
    """How a training reports itself, learns that it should stop, and says what its figures say against it."""

    def alarm(self, alarm: Alarm) -> None:
        """Told before the state that knows of it is saved, and again by a training that goes on from that state."""
        ...


class TrainingStopped(Exception):
    """Raised when the caller asked to stop; what training had saved by then, it goes on from."""

    def __init__(self, step: int, total: int) -> None:
        super().__init__(f"stopped after step {step} of {total}; call again with the same arguments to go on")
        self.step = step
        self.total = total


class NonFiniteLoss(Exception):
    """Raised before a step that would put NaN or infinity into the weights; the states saved before it are sound."""

    def __init__(self, quantity: str, value: float, step: int) -> None:
        super().__init__(
            f"{quantity} is {value} at step {step}; lower learning_rate or max_grad_norm, "
            "or look for extreme weights in the data"
        )
        self.quantity = quantity
        self.step = step


@contextmanager
def telling_not_finite(progress: Progress) -> Iterator[None]:
    """A training that ends by `NonFiniteLoss` is an alarm, too."""
    try:
        yield
    except NonFiniteLoss as error:
        figures = {error.quantity.replace(" ", "_"): None}
        progress.alarm(Alarm(kind=AlarmKind.NOT_FINITE, step=error.step + 1, limit=None, figures=figures))
        raise


class TrainingUnhealthy(Exception):
    """Raised when an alarm is to stop its training: nothing since the last saved state is kept, nothing published."""

    def __init__(self, alarm: Alarm) -> None:
        super().__init__(str(alarm))


class NoTrainingData(Exception):
    """Raised when nothing is left to learn from: no pairs, or none that fits, differs and prefers a side."""

    def __init__(self, offered: int, reason: str) -> None:
        super().__init__(f"no training data: {offered} pairs offered, {reason}")
        self.offered = offered


class TemplateRewritesPrompt(Exception):
    """Raised when a chat template renders a prompt differently once it is answered.

    Training would then see another context than sampling does.
    """

    def __init__(self, prompt: str) -> None:
        super().__init__(
            "the chat template renders this prompt differently once it is answered: "
            f"{prompt[-80:]!r}; use a template that only appends the answer"
        )


class TemplateRefusesPrompt(Exception):
    """Raised when a chat template renders a conversation not at all: it knows no such role, or no such order."""

    def __init__(self, reason: str, last: str) -> None:
        super().__init__(
            f"the chat template does not render the prompt that ends in {last[-80:]!r}: {reason}; change its messages "
            "or tools, or take a model with another template"
        )


class MergeDiffers(Exception):
    """Raised when a merged model does not compute what its adapters do; nothing is published."""

    def __init__(self, difference: float, tolerance: float) -> None:
        super().__init__(
            f"the merged weights give values that differ by {difference:.2g} from those with adapters, "
            f"above {tolerance:g} of their size; train without lora, and report the model's architecture"
        )


class QuantizationUnavailable(Exception):
    """Raised where weights are to be quantized on a worker that lacks the library."""

    def __init__(self, quantization: str) -> None:
        super().__init__(
            f"lora.quantization {quantization!r} needs bitsandbytes, which this worker lacks: install it with the "
            "extra `quantization` (pip install bitsandbytes), or leave lora.quantization out"
        )


class RewardsMissing(Exception):
    """Raised when no rollout of several steps in a row could be rewarded: there is nothing to learn from."""

    def __init__(self, steps: int) -> None:
        super().__init__(
            f"not one answer of {steps} steps in a row got a reward; look at the judge's INVALID answers or at the "
            "reward model's window"
        )


class ProcessesRefused(Exception):
    """Raised when this machine cannot train in as many processes as its operator asked for, or not so configured."""


class RanksFailed(Exception):
    """Raised when one of the processes that train together died, and the others with it."""

    def __init__(self, count: int, cause: str) -> None:
        super().__init__(f"training in {count} processes failed: {cause}; the next attempt goes on from the last state")


class StateMismatch(Exception):
    """Raised when an out_dir holds the state of a training with another configuration or other data."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            f"{directory} holds the state of another training (its configuration or data differ); "
            "give this one its own out_dir, or delete that directory"
        )


@dataclass(frozen=True)
class PreferencePair:
    """Two completions of one prompt and the `probability` that `first` is the better, a soft label in [0, 1]."""

    id: str
    prompt: Messages
    first: str
    second: str
    probability: float
    weight: float = 1.0
    tools: Tools | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.probability <= 1:
            raise ValueError(f"pair {self.id}: probability {self.probability} is not in [0, 1]")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(f"pair {self.id}: weight {self.weight} is not a finite number of at least 0")


@dataclass(frozen=True)
class Conversation:
    """A prompt and one completion of it, to be scored."""

    prompt: Messages
    completion: str
    tools: Tools | None = None


@dataclass(frozen=True)
class Demonstration:
    """An answer to learn. `finished`: it ends where it says so; a cut one does not teach to end there."""

    id: str
    prompt: Messages
    completion: str
    tools: Tools | None = None
    finished: bool = True


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """Settings that every method shares; `batch_size` and `save_steps` count pairs and optimiser steps."""

    model_dir: Path
    learning_rate: float
    epochs: int
    batch_size: int
    gradient_accumulation_steps: int = 1
    max_length: int = 1024
    warmup_ratio: float = 0.1
    max_grad_norm: float = 1.0
    weight_decay: float = 0.0
    lora: LoraConfig | None = None
    precision: Precision = Precision.AUTO
    gradient_checkpointing: bool = False
    seed: int = 0
    save_steps: int = 50
    health: HealthConfig = field(default_factory=HealthConfig)
