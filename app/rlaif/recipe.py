"""The recipe: a validated, versioned snapshot of what a run does. Unknown fields are errors: a typo is never silent."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, StrictBool, Tag, model_validator

from app.rlaif.measure import MeasureConfig
from app.rlaif.modes import Mode
from app.rlaif.online_policy import OnlinePolicyConfig
from app.rlaif.rounds import RoundsConfig
from app.rlaif.scoring import ScoreConfig
from app.rlaif.sections import (
    CalibrateConfig,
    EvaluateConfig,
    JudgeConfig,
    PreferConfig,
    Probability,
    SampleConfig,
    Section,
)
from app.rlaif.sweep import SweepConfig, candidates
from app.rlaif.training import PolicyConfig, RewardModelConfig
from app.rlaif.trajectories import TrajectoriesConfig
from app.rlaif.warm_start import WarmStartConfig

RECIPE_VERSION: Literal[1] = 1


class StageKind(StrEnum):
    """The stages of a round, in the order in which they run.

    `warm_start` is in the first round alone; `calibrate` ends a calibration, `score` is all of a scoring and
    `trajectories` all of a trajectory evaluation, and these are in no other run.
    """

    WARM_START = "warm_start"
    SAMPLE = "sample"
    JUDGE = "judge"
    CALIBRATE = "calibrate"
    PREFER = "prefer"
    REWARD_MODEL = "reward_model"
    POLICY = "policy"
    EVALUATE = "evaluate"
    SCORE = "score"
    TRAJECTORIES = "trajectories"


class GatesConfig(Section):
    """What must hold of the judge before anything is trained on its word. Null asks nothing."""

    minimum_agreement: Probability | None = Field(
        None, description="Least accuracy on people's labels: the lower end of its 95 % interval"
    )
    must_beat_longer: StrictBool | None = Field(
        None,
        description="Whether the judge must do surely better than preferring the longer answer; null: where a "
        "calibration is named",
    )
    minimum_consistency: Probability | None = Field(
        None, description="Least share of comparisons whose two orders agree: in the calibration, and in the run"
    )
    minimum_coverage: Probability | None = Field(
        None, description="Least share of valid answers: in the calibration, and in the run"
    )
    maximum_ece: Probability | None = Field(None, description="Largest calibration error of what a run would read")
    minimum_effective_votes: Annotated[float, Field(strict=True, ge=1, le=16)] | None = Field(
        None, description="Least independent judges that a panel is worth"
    )
    maximum_calibration_age_days: Annotated[float, Field(strict=True, gt=0, le=3650)] | None = None
    refuse_on_drift: StrictBool = Field(
        False, description="Whether a canary that has drifted from the calibration stands in the way"
    )

    def needing_calibration(self) -> tuple[str, ...]:
        """The gates that are set and that only a calibration can decide."""
        names = ("minimum_agreement", "maximum_ece", "minimum_effective_votes", "maximum_calibration_age_days")
        asked = [name for name in names if getattr(self, name) is not None]
        asked += [name for name in ("must_beat_longer", "refuse_on_drift") if getattr(self, name)]
        return tuple(asked)


class Budget(Section):
    """Reaching a limit pauses the run with the reason; raising it and resuming goes on where it stood."""

    judge_usd: Annotated[float, Field(strict=True, gt=0, le=1e9)] | None = None
    compute_seconds: Annotated[float, Field(strict=True, gt=0, le=1e12)] | None = None


_NO_RESULT: dict[str, Any] = {
    "stop_after": True,
    "max_attempts": True,
    "budget": True,
    "gates": True,
    "sample": {"prompts_per_shard"},
    "judge": {"prompts_per_shard", "cache", "cache_max_age_days"},
    "evaluate": {"gates"},
    "reward_model": {"save_steps", "health"},
    "policy": {"save_steps", "health"},
    "warm_start": {"save_steps", "health"},
}


def _method(policy: Any) -> str:
    method = policy.get("method", "dpo") if isinstance(policy, dict) else getattr(policy, "method", "dpo")
    return "dpo" if method == "dpo" else "online"


AnyPolicyConfig = Annotated[
    Annotated[PolicyConfig, Tag("dpo")] | Annotated[OnlinePolicyConfig, Tag("online")], Discriminator(_method)
]


class Recipe(Section):
    """What a run does, stage by stage."""

    version: Literal[1] = RECIPE_VERSION
    seed: Annotated[int, Field(strict=True, ge=0, lt=2**63)] = 0
    stop_after: StageKind = StageKind.EVALUATE
    max_attempts: Annotated[int, Field(strict=True, ge=1, le=20)] = 3
    sample: SampleConfig = SampleConfig()
    judge: JudgeConfig = JudgeConfig()
    prefer: PreferConfig = PreferConfig()
    reward_model: RewardModelConfig = RewardModelConfig()
    policy: AnyPolicyConfig = PolicyConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    budget: Budget = Budget()
    gates: GatesConfig = GatesConfig()
    warm_start: WarmStartConfig | None = Field(None, description="Supervised training before the first round")
    rounds: RoundsConfig | None = Field(None, description="Several rounds, each from the last policy; null: one")
    sweep: SweepConfig | None = Field(
        None, description="Train a policy for each of several settings, and keep the best"
    )
    calibrate: CalibrateConfig | None = Field(
        None, description="Set by POST /v1/calibrations alone: the run measures its judge and trains nothing"
    )
    measure: MeasureConfig | None = Field(
        None, description="Set by POST /v1/evaluations alone: the run measures one model against another"
    )
    score: ScoreConfig | None = Field(
        None, description="Set by POST /v1/checkpoints/{id}/scores alone: the run scores texts and does nothing else"
    )
    trajectories: TrajectoriesConfig | None = Field(
        None,
        description="Set by POST /v1/trajectory-evaluations alone: the run measures how often trajectories succeed",
    )

    @model_validator(mode="after")
    def _calibration_ends_with_itself(self) -> Self:
        if (self.calibrate is not None) != (self.stop_after is StageKind.CALIBRATE):
            raise ValueError(
                "calibrate and stop_after 'calibrate' are of calibrations: make one by POST /v1/calibrations"
            )
        if self.calibrate is not None and self.sample.source != "prompt_set":
            raise ValueError("a calibration needs sample.source prompt_set: people's labels refer to candidates")
        return self

    @model_validator(mode="after")
    def _scoring_is_all(self) -> Self:
        if (self.score is not None) != (self.stop_after is StageKind.SCORE):
            raise ValueError(
                "score and stop_after 'score' are of scorings: make one by POST /v1/checkpoints/{id}/scores"
            )
        return self

    @model_validator(mode="after")
    def _trajectories_are_all(self) -> Self:
        if (self.trajectories is not None) != (self.stop_after is StageKind.TRAJECTORIES):
            raise ValueError(
                "trajectories and stop_after 'trajectories' are of trajectory evaluations: make one by "
                "POST /v1/trajectory-evaluations"
            )
        return self

    @model_validator(mode="after")
    def _ends_with_a_stage_that_it_has(self) -> Self:
        if self.stop_after is StageKind.WARM_START and self.warm_start is None:
            raise ValueError("stop_after 'warm_start' leaves nothing to do: set warm_start, or stop later")
        return self

    @model_validator(mode="after")
    def _imports_agree(self) -> Self:
        if self.prefer.source == "prompt_set" and self.sample.source != "prompt_set":
            raise ValueError("prefer.source prompt_set needs sample.source prompt_set: preferences refer to candidates")
        return self

    @model_validator(mode="after")
    def _evaluation_has_a_baseline(self) -> Self:
        if self.evaluate.completions > self.sample.held_out_completions:
            raise ValueError(
                f"evaluate.completions {self.evaluate.completions} is above sample.held_out_completions "
                f"{self.sample.held_out_completions}: every policy completion needs a base completion to meet"
            )
        return self

    @model_validator(mode="after")
    def _lengths_fit(self) -> Self:
        for name in ("prefer", "reward_model", "policy", "warm_start"):
            limit = getattr(getattr(self, name), "max_length", None)
            if limit is not None and limit <= self.sample.max_new_tokens and self.sample.source == "model":
                raise ValueError(f"{name}.max_length {limit} leaves no room for a prompt beside sample.max_new_tokens")
        return self

    @model_validator(mode="after")
    def _candidates_are_recipes(self) -> Self:
        one, count = self.evaluate.candidate, len(candidates(self))
        if self.sweep is not None and one is not None and one >= count:
            raise ValueError(f"evaluate.candidate is {one}, and the sweep's candidates are 0 to {count - 1}: name one")
        return self

    def settings_of(self, kind: str) -> dict[str, Any]:
        """The section of a stage as JSON, without what does not determine its result."""
        settings: dict[str, Any] = self.model_dump(mode="json", exclude=_NO_RESULT, exclude_none=True)[kind]
        return settings

    def content_hash(self) -> str:
        """SHA-256 of what determines a result: not how far to go, what it may cost, how work is cut and saved.

        What is null is left out, so that a later setting with null for "as before" leaves older hashes as they were.
        """
        content = self.model_dump(mode="json", exclude=_NO_RESULT, exclude_none=True)
        if self.judge.mode is Mode.PAIRWISE:
            del content["judge"]["mode"]  # as it was before there were others
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()

    def rewards_by_judge(self) -> bool:
        """Whether the run's judge rates the policy's own answers while it is trained."""
        policies = [one.policy for one in candidates(self)]
        rewarded = any(isinstance(policy, OnlinePolicyConfig) and policy.reward.judge > 0 for policy in policies)
        return StageKind.POLICY in self.stages() and rewarded

    def stages_of(self, round_: int) -> tuple[StageKind, ...]:
        """The stages of one round, in order: the first alone has a warm start."""
        return tuple(kind for kind in self.stages() if round_ == 0 or kind is not StageKind.WARM_START)

    def stages(self) -> tuple[StageKind, ...]:
        """The stages that this recipe runs, in order."""
        if self.score is not None:
            return (StageKind.SCORE,)
        if self.trajectories is not None:
            return (StageKind.TRAJECTORIES,)
        if self.measure is not None:
            return (StageKind.SAMPLE, StageKind.EVALUATE)
        kinds = tuple(StageKind)
        return tuple(
            kind
            for kind in kinds[: kinds.index(self.stop_after) + 1]
            if not (kind is StageKind.JUDGE and self.prefer.source == "prompt_set")
            and not (kind is StageKind.CALIBRATE and self.calibrate is None)
            and kind is not StageKind.SCORE
            and not (kind is StageKind.WARM_START and self.warm_start is None)
        )
