"""The recipe: a validated, versioned snapshot of what a run does. Unknown fields are errors: a typo is never silent."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StrictBool, Tag, model_validator

from app.rlaif.modes import Mode
from app.rlaif.online_policy import OnlinePolicyConfig
from app.rlaif.promotion import PromotionGates
from app.rlaif.training import PolicyConfig, RewardModelConfig

RECIPE_VERSION: Literal[1] = 1

Probability = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]


class StageKind(StrEnum):
    """The stages of a round, in the order in which they run; `calibrate` ends a calibration and is in no other run."""

    SAMPLE = "sample"
    JUDGE = "judge"
    CALIBRATE = "calibrate"
    PREFER = "prefer"
    REWARD_MODEL = "reward_model"
    POLICY = "policy"
    EVALUATE = "evaluate"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SampleConfig(_Part):
    """How candidate responses come about."""

    source: Literal["model", "prompt_set"] = Field(
        "model", description="`model` samples the base model; `prompt_set` imports each prompt's own candidates"
    )
    completions: Annotated[int, Field(strict=True, ge=2, le=64)] = 4
    held_out_completions: Annotated[int, Field(strict=True, ge=1, le=64)] = Field(
        4, description="Base completions a held-out prompt: the baseline, and the reward model's held-out pairs"
    )
    temperature: Annotated[float, Field(strict=True, gt=0, le=5)] = 1.0
    top_p: Annotated[float, Field(strict=True, gt=0, le=1)] = 0.95
    max_new_tokens: Annotated[int, Field(strict=True, ge=1, le=32_768)] = 512
    batch_size: Annotated[int, Field(strict=True, ge=1, le=4096)] = 64
    prompts_per_shard: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 64


class JudgeConfig(_Part):
    """Which comparisons are judged, how, and how often."""

    mode: Mode = Field(
        Mode.PAIRWISE,
        description="`pairwise`: which of two is better, by the whole rubric; `per_criterion`: by one criterion at a "
        "time, combined by weight; `listwise`: groups of up to eight are ranked; `pointwise`: each is rated from 1 to "
        "10. Evaluation is always pairwise",
    )
    pairs: Literal["all", "chain", "labelled"] = Field(
        "all",
        description="`all` compares every two completions of a prompt; `chain` compares neighbours in a ring; "
        "`labelled` compares the candidates of which the prompt set holds a preference or an annotation",
    )
    repeats: Annotated[int, Field(strict=True, ge=1, le=16)] = 1
    principle: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = Field(
        None,
        description="Number, counted from 1, of the one principle to judge by; without it each comparison draws one",
    )
    cache: StrictBool = Field(
        True, description="Take replies that the judge's endpoint has given to the very same question; false asks anew"
    )
    cache_max_age_days: Annotated[float, Field(strict=True, gt=0, le=36_500)] | None = Field(
        None, description="Ask anew what was answered longer ago than this"
    )
    prompts_per_shard: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 64
    minimum_coverage: Probability = Field(
        0.9, description="Smallest share of valid verdicts; below it the run fails and says so"
    )
    calibration: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        None,
        description="Id of a calibration of this judge and rubric revision: what it fitted makes the preferences",
        examples=["calibration_01m7xk5mgzeyva4mageqj2tqtk"],
    )

    @model_validator(mode="after")
    def _groups_are_whole(self) -> Self:
        if self.mode is Mode.LISTWISE and self.pairs != "all":
            raise ValueError(f"judge.mode 'listwise' compares every two of a group: not judge.pairs {self.pairs!r}")
        return self


class PeopleConfig(_Part):
    """What people's answers do to the judge's belief."""

    queue: Annotated[str, Field(min_length=1, max_length=100)] = Field(
        description="The annotation queue whose answers count; never one whose labels calibrated the run's judge",
        examples=["queue_01m7xk5mgzeyva4mageqj2tqtk"],
    )
    policy: Literal["ignore", "people_first", "weighted"] = Field(
        "people_first",
        description="`ignore` only records them; `people_first`: their settled answer replaces the judge's belief; "
        "`weighted`: each person is one vote and the judge `judge_votes`",
    )
    judge_votes: Annotated[float, Field(strict=True, gt=0, le=1000)] = Field(
        1.0, description="How many people's votes the judge's belief is worth, by policy `weighted`"
    )


class PreferConfig(_Part):
    """How verdicts become preferences, and which are dropped."""

    source: Literal["verdicts", "prompt_set"] = Field(
        "verdicts", description="`prompt_set` imports each prompt's own preferences and skips judging"
    )
    inconsistent: Literal["keep", "drop"] = Field(
        "keep", description="Pairs whose two orders contradict: `keep` them near 0.5, or `drop` and count them"
    )
    minimum_margin: Probability = Field(0.0, description="Pairs with |2p - 1| below this are dropped and counted")
    tie_weight: Probability = Field(0.1, description="Weight of a pair believed to be a tie")
    max_length: Annotated[int, Field(strict=True, ge=16, le=131_072)] = Field(
        1024, description="Tokens of prompt and completion; pairs identical after truncation are dropped and counted"
    )
    people: PeopleConfig | None = Field(None, description="People's answers from an annotation queue; null: none count")


class EvaluateConfig(_Part):
    """How the result is measured on held-out prompts."""

    completions: Annotated[int, Field(strict=True, ge=1, le=16)] = Field(
        1, description="Policy completions a held-out prompt, each compared with one of the base model's"
    )
    bootstrap_samples: Annotated[int, Field(strict=True, ge=100, le=100_000)] = 2000
    confidence: Annotated[float, Field(strict=True, gt=0.5, lt=1)] = 0.95
    minimum_coverage: Probability = 0.9
    gates: PromotionGates = Field(
        PromotionGates(), description="What the policy must show to be promoted; a gate that fails fails no run"
    )


class CalibrateConfig(_Part):
    """How a judge is measured against people's labels."""

    split: Literal["train", "held_out", "all"] = Field("all", description="Which prompts of the labelled set are used")
    limit: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = Field(
        None, description="At most so many prompts, in the order of the set"
    )
    folds: Annotated[int, Field(strict=True, ge=2, le=50)] = Field(
        10, description="Folds of the cross-validation; a prompt's comparisons are all in one"
    )
    bootstrap_samples: Annotated[int, Field(strict=True, ge=100, le=100_000)] = 2000


class GatesConfig(_Part):
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


class Budget(_Part):
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
    "reward_model": {"save_steps"},
    "policy": {"save_steps"},
}


def _method(policy: Any) -> str:
    method = policy.get("method", "dpo") if isinstance(policy, dict) else getattr(policy, "method", "dpo")
    return "dpo" if method == "dpo" else "online"


AnyPolicyConfig = Annotated[
    Annotated[PolicyConfig, Tag("dpo")] | Annotated[OnlinePolicyConfig, Tag("online")], Discriminator(_method)
]


class Recipe(_Part):
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
    calibrate: CalibrateConfig | None = Field(
        None, description="Set by POST /v1/calibrations alone: the run measures its judge and trains nothing"
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
        for name in ("prefer", "reward_model", "policy"):
            limit = getattr(self, name).max_length
            if limit <= self.sample.max_new_tokens and self.sample.source == "model":
                raise ValueError(f"{name}.max_length {limit} leaves no room for a prompt beside sample.max_new_tokens")
        return self

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
        policy = self.policy
        return StageKind.POLICY in self.stages() and isinstance(policy, OnlinePolicyConfig) and policy.reward.judge > 0

    def stages(self) -> tuple[StageKind, ...]:
        """The stages that this recipe runs, in order."""
        kinds = tuple(StageKind)
        return tuple(
            kind
            for kind in kinds[: kinds.index(self.stop_after) + 1]
            if not (kind is StageKind.JUDGE and self.prefer.source == "prompt_set")
            and not (kind is StageKind.CALIBRATE and self.calibrate is None)
        )
