"""The sections of a recipe that say how data comes about and how results are measured, a class each."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, model_validator

from app.rlaif.evaluator import EvaluatorConfig
from app.rlaif.modes import Mode
from app.rlaif.promotion import PromotionGates, TaskName

Probability = Annotated[float, Field(strict=True, ge=0, le=1, allow_inf_nan=False)]


class Section(BaseModel):
    """What every section is: immutable, and without unknown fields."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SampleConfig(Section):
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


class JudgeConfig(Section):
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


class PeopleConfig(Section):
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


class PreferConfig(Section):
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


class EvaluateConfig(Section):
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
    tasks: Annotated[tuple[TaskName, ...], Field(min_length=1, max_length=50)] | None = Field(
        None,
        description="Capability tasks by id or name: asked of the base model and of the policy, as POST /v1/tasks made "
        "them",
        examples=[["facts"]],
    )
    evaluators: Annotated[tuple[EvaluatorConfig, ...], Field(min_length=1, max_length=20)] | None = Field(
        None,
        description="Who rates every compared answer by itself: built-in evaluators, or rubrics of your own",
        examples=[[{"name": "toxicity"}]],
    )
    candidate: Annotated[int, Field(strict=True, ge=0)] | None = Field(
        None, description="Of a sweep whose policies another run trained: the one candidate to measure; null: all"
    )

    @model_validator(mode="after")
    def _gates_read_what_is_measured(self) -> Self:
        measured = {
            "tasks": (list(self.tasks or ()), "maximum_task_regression"),
            "evaluators": ([each.name for each in self.evaluators or ()], "maximum_evaluator_regression"),
        }
        for part, (names, gate) in measured.items():
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise ValueError(f"{part}: named twice: {', '.join(twice)}")
            for name in getattr(self.gates, gate):
                if name not in names:
                    raise ValueError(f"gates.{gate} asks for {name!r}: name it in evaluate.{part} too")
        return self


class CalibrateConfig(Section):
    """How a judge is measured against people's labels."""

    split: Literal["train", "held_out", "all"] = Field("all", description="Which prompts of the labelled set are used")
    limit: Annotated[int, Field(strict=True, ge=1, le=1_000_000)] | None = Field(
        None, description="At most so many prompts, in the order of the set"
    )
    folds: Annotated[int, Field(strict=True, ge=2, le=50)] = Field(
        10, description="Folds of the cross-validation; a prompt's comparisons are all in one"
    )
    bootstrap_samples: Annotated[int, Field(strict=True, ge=100, le=100_000)] = 2000
