"""How the base model is taught by examples before anything is judged: the part of a recipe that `warm_start` reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, Tag, model_validator
from pydantic.types import Discriminator

from app.rlaif.critique import (
    CRITIQUE_REQUEST,
    PRINCIPLE,
    REVISION_REQUEST,
    CritiqueExample,
    Dialogue,
    Outcome,
    Request,
)
from app.rlaif.training import LearningRate, TrainingConfig, with_learning_rate


class WarmStartMethod(StrEnum):
    """`sft` learns the prompts' own demonstrations; `constitutional` learns the base model's revised answers."""

    SFT = "sft"
    CONSTITUTIONAL = "constitutional"


class Demonstrations(StrEnum):
    """Which of a prompt's texts is the answer to learn."""

    REFERENCE = "reference"
    PREFERRED = "preferred"
    EITHER = "either"


class Treatment(StrEnum):
    """What becomes of answers of one sort. They are counted either way."""

    KEEP = "keep"
    DROP = "drop"


class SupervisedConfig(TrainingConfig):
    """Supervised training from the base model; what it publishes is where the first round starts from."""

    learning_rate: LearningRate = Field(1e-5, description="1e-4 with `lora`")
    batch_size: Annotated[int, Field(strict=True, ge=1, le=4096)] = 16
    gradient_accumulation_steps: Annotated[int, Field(strict=True, ge=1, le=1024)] = 1

    @model_validator(mode="before")
    @classmethod
    def _learning_rate_of_adapters(cls, given: Any) -> Any:
        return with_learning_rate(given, 1e-4)


class DemonstrationsConfig(SupervisedConfig):
    """Learns what the prompts bring. A train prompt without a demonstration is left out and counted."""

    method: Literal[WarmStartMethod.SFT] = WarmStartMethod.SFT
    demonstrations: Demonstrations = Field(
        Demonstrations.REFERENCE,
        description="`reference`: each prompt's reference answer; `preferred`: the candidate that its preferences put "
        "first; `either`: the reference, or where there is none the preferred candidate",
    )


class ConstitutionalConfig(SupervisedConfig):
    """Learns what the base model makes of its own answers by the rubric's principles (Bai et al., arXiv 2212.08073).

    In the two requests `{principle}` stands for the principle that was drawn; nothing else in them is interpreted.
    """

    method: Literal[WarmStartMethod.CONSTITUTIONAL] = WarmStartMethod.CONSTITUTIONAL
    revisions: Annotated[int, Field(strict=True, ge=1, le=4)] = Field(
        1, description="Times that an answer is criticised and revised, each by a principle that is drawn anew"
    )
    critic: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        None,
        description="Id of a judge of kind openai or anthropic whose endpoint criticises, at its price; null: the base "
        "model itself. The base model revises either way",
        examples=["judge_01m7xk5mgzeyva4mageqj2tqtk"],
    )
    critique_request: Request = Field(CRITIQUE_REQUEST, description="What the model is asked after its answer")
    revision_request: Request = Field(REVISION_REQUEST, description="What the model is asked after its critique")
    examples: Annotated[tuple[CritiqueExample, ...], Field(max_length=8)] = Field(
        (), description="Conversations that show the model how it is done, put before each prompt"
    )
    unchanged: Treatment = Field(Treatment.KEEP, description="Last revisions that equal the first answer")
    refusals: Treatment = Field(Treatment.KEEP, description="Last revisions with a phrase of refusal")

    @model_validator(mode="after")
    def _names_the_principle(self) -> ConstitutionalConfig:
        if PRINCIPLE not in self.critique_request:
            raise ValueError("critique_request names no {principle}: the critique would not know what to go by")
        return self

    def left_out(self) -> frozenset[Outcome]:
        """What is no example to learn from."""
        found = {Outcome.EMPTY, Outcome.NO_ROOM, Outcome.NO_CRITIQUE, Outcome.NOT_ANSWERED}
        found |= {Outcome.UNCHANGED} if self.unchanged is Treatment.DROP else set()
        return frozenset(found | ({Outcome.REFUSAL} if self.refusals is Treatment.DROP else set()))

    def dialogue(self) -> Dialogue:
        return Dialogue(self.critique_request, self.revision_request, self.examples)


def _method(given: Any) -> str:
    method = given.get("method", "sft") if isinstance(given, Mapping) else getattr(given, "method", "sft")
    return str(method)


WarmStartConfig = Annotated[
    Annotated[DemonstrationsConfig, Tag("sft")] | Annotated[ConstitutionalConfig, Tag("constitutional")],
    Discriminator(_method),
]


def written(config: SupervisedConfig | None, *, prompts: int) -> int | None:
    """Answers, critiques and revisions that a model writes for so many prompts; None where it writes none."""
    return prompts * (1 + 2 * config.revisions) if isinstance(config, ConstitutionalConfig) else None


def demonstration(
    wanted: Demonstrations,
    *,
    reference: str | None,
    candidates: Sequence[Any],
    preferences: Sequence[Mapping[str, Any]],
) -> str | None:
    """The answer that a prompt brings to learn from; None where it brings none that is a text."""
    given = reference.strip() if reference else ""
    if wanted is not Demonstrations.PREFERRED and given:
        return reference
    return None if wanted is Demonstrations.REFERENCE else preferred(candidates, preferences)


def preferred(candidates: Sequence[Any], preferences: Sequence[Mapping[str, Any]]) -> str | None:
    """The text that preferences put highest by their summed margins; None where none puts a text above another.

    Of candidates with equal sums the first counts. A trajectory is no text to learn.
    """
    margins = dict.fromkeys(range(len(candidates)), 0.0)
    for known in preferences:
        margin = 2 * known["probability"] - 1
        margins[known["first"]] += margin
        margins[known["second"]] -= margin
    best = max(margins, key=lambda place: margins[place], default=None)
    if best is None or margins[best] <= 0 or not isinstance(candidates[best], str) or not candidates[best].strip():
        return None
    return str(candidates[best])
