"""What may be wrong with a training while it runs: the alarms, when they are raised, and what to do about each. Pure.

The thresholds are settings of a recipe and part of no result: they decide what is said of a training, and whether it
goes on, never what it learns.
"""

from __future__ import annotations

from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Limit = Annotated[float, Field(strict=True, gt=0, le=1e6, allow_inf_nan=False)]


PROGRAM_LOOKS_EVERY = 10


class AlarmKind(StrEnum):
    """What a training's figures can say against it."""

    CHOSEN_LOGPROB_FALLING = "chosen_logprob_falling"
    MARGIN_EXPLODING = "margin_exploding"
    LENGTH_DRIFT = "length_drift"
    KL_EXPLODING = "kl_exploding"
    COLLAPSE = "collapse"
    REWARD_HACKING = "reward_hacking"
    NOT_FINITE = "not_finite"


class OnAlarm(StrEnum):
    """What an alarm does beside being an event: nothing, or it ends the training, and with it the run."""

    WARN = "warn"
    STOP = "stop"


REMEDIES = MappingProxyType(
    {
        AlarmKind.CHOSEN_LOGPROB_FALLING: "raise sft_weight (0.5 to 1) or beta, lower learning_rate or epochs",
        AlarmKind.MARGIN_EXPLODING: "lower learning_rate or epochs, or use soft labels; the loss ipo aims at a margin",
        AlarmKind.LENGTH_DRIFT: "look at the reward's taste for length; set missing_eos_penalty, lower learning_rate, "
        "or judge by a rubric that says how long an answer should be",
        AlarmKind.KL_EXPLODING: "raise beta, set target_kl or max_kl, or lower learning_rate",
        AlarmKind.COLLAPSE: "raise beta or set max_kl, lower learning_rate or steps, or train the reward model on more "
        "and fresher answers: it pays for the same words whatever is asked",
        AlarmKind.REWARD_HACKING: "take fewer steps, raise beta or set max_kl, and train the reward model anew on what "
        "the policy says now (rounds)",
        AlarmKind.NOT_FINITE: "lower learning_rate or max_grad_norm, or look for extreme weights in the data",
    }
)


class Alarm(BaseModel):
    """Raised once a training. `figures` are those that raised it, `limit` what was set for them."""

    model_config = ConfigDict(frozen=True)

    kind: AlarmKind
    step: int
    limit: float | None
    figures: dict[str, float | None]
    member: int | None = None

    @property
    def remedy(self) -> str:
        return REMEDIES[self.kind]

    def __str__(self) -> str:
        found = ", ".join(
            f"{name} {'not finite' if value is None else f'{value:.4g}'}" for name, value in self.figures.items()
        )
        limit = "" if self.limit is None else f" (limit {self.limit:g})"
        member = "" if self.member is None else f" of member {self.member}"
        return f"{self.kind.value} at step {self.step}{member}: {found}{limit}; {self.remedy}"


class RaisedAlarm(BaseModel):
    """An alarm as an event of its run: where it was raised, what was seen, and what to do about it."""

    model_config = ConfigDict(frozen=True)

    alarm: AlarmKind
    stage: str
    round: int
    candidate: int
    member: int | None
    step: int
    limit: float | None
    figures: dict[str, float | None]
    remedy: str

    @property
    def place(self) -> dict[str, Any]:
        """What it is unique in, within its run."""
        return self.model_dump(mode="json", include={"alarm", "stage", "round", "candidate", "member"})

    def __str__(self) -> str:
        """As the alarm says it."""
        return str(Alarm(kind=self.alarm, step=self.step, limit=self.limit, figures=self.figures, member=self.member))


class HealthConfig(BaseModel):
    """When alarms are raised, and what they do. A threshold that is null turns its alarm off.

    Figures are medians over `window` steps, the first ones against the latest, so nothing is said before step
    2 x `window`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    on_alarm: OnAlarm = Field(OnAlarm.WARN, description="`stop` ends the training and fails the run")
    on: dict[AlarmKind, OnAlarm] = Field(
        default_factory=dict,
        description="What single alarms do, in place of `on_alarm`; `not_finite` always stops",
        examples=[{"collapse": "stop"}],
    )
    window: Annotated[int, Field(strict=True, ge=2, le=1000)] = 10

    def limits(self) -> dict[AlarmKind, float]:
        """The alarms that this training has, and their thresholds."""
        found = {kind: getattr(self, name, None) for kind, name in _THRESHOLDS.items()}
        return {kind: limit for kind, limit in found.items() if limit is not None}

    def stops(self, kind: AlarmKind) -> bool:
        return self.on.get(kind, self.on_alarm) is OnAlarm.STOP

    @model_validator(mode="after")
    def _knows_its_alarms(self) -> Self:
        own = {kind for kind, name in _THRESHOLDS.items() if name in type(self).model_fields}
        for kind in self.on:
            if kind not in own:
                raise ValueError(
                    f"on: this training raises no {kind.value} that could be ignored; it has "
                    f"{', '.join(sorted(own)) or 'none but not_finite, which always stops'}"
                )
        return self


class RewardHealth(HealthConfig):
    """Of a reward model."""

    maximum_margin: Limit | None = Field(
        10.0, description="Margin of the better side; at 10 the loss of a hard label is 5e-5: nothing is left to learn"
    )


class PreferenceHealth(HealthConfig):
    """Of a policy that learns from preferences."""

    maximum_margin: Limit | None = Field(
        10.0, description="Margin of the better side; at 10 the loss of a hard label is 5e-5: nothing is left to learn"
    )
    chosen_logprob_fall: Limit | None = Field(
        0.2, description="Nats a token by which the better completions may become less likely: e^-0.2 is 18 %"
    )


class OnlineHealth(HealthConfig):
    """Of a policy that learns from its own answers. `judge_every` asks the evaluation judge as training goes on."""

    maximum_margin: Limit | None = Field(10.0, description="Margin of the better answer: `online_dpo`")
    length_ratio: Annotated[float, Field(strict=True, gt=1, le=1e6, allow_inf_nan=False)] | None = Field(
        2.0, description="How many times longer or shorter answers may become"
    )
    kl_per_token: Limit | None = Field(1.0, description="Nats a token of divergence from the base model")
    shared_ngrams: Annotated[float, Field(strict=True, gt=0, le=1, allow_inf_nan=False)] | None = Field(
        0.5, description="Share of a step's token 4-grams that stand in answers to several prompts"
    )
    judge_fall: Limit | None = Field(
        2.0, description="Standard errors by which the held-out judge may fall while the reward rises"
    )
    judge_every: Annotated[int, Field(strict=True, ge=0, le=1_000_000)] | None = Field(
        None,
        description="Steps between two looks of the evaluation judge; 0: none. Null: 10 where that judge is a program "
        "and asking it is free, else none",
    )
    judge_prompts: Annotated[int, Field(strict=True, ge=2, le=4096)] = Field(
        16, description="Held-out prompts that are answered at each look"
    )

    def looks_every(self, *, judge_is_program: bool) -> int | None:
        """Steps between two looks of the evaluation judge; None where it does not look."""
        every = PROGRAM_LOOKS_EVERY if self.judge_every is None and judge_is_program else self.judge_every
        return every or None


_THRESHOLDS = MappingProxyType(
    {
        AlarmKind.CHOSEN_LOGPROB_FALLING: "chosen_logprob_fall",
        AlarmKind.MARGIN_EXPLODING: "maximum_margin",
        AlarmKind.LENGTH_DRIFT: "length_ratio",
        AlarmKind.KL_EXPLODING: "kl_per_token",
        AlarmKind.COLLAPSE: "shared_ngrams",
        AlarmKind.REWARD_HACKING: "judge_fall",
    }
)
