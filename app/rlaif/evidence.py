"""What the stages measured, as stored in `Stage.metrics`, `Checkpoint.metrics` and `Evaluation.metrics`, and reported.

Nothing here has a default: a figure that was not measured is None, never zero. Stages write `model_dump(mode="json")`.
"""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from app.rlaif.comparison import InvalidReason
from app.rlaif.evaluator import EvaluatorResult
from app.rlaif.measured import Measured
from app.rlaif.task_evidence import TaskResult

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0)]


class _Evidence(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Estimate(_Evidence):
    """A share with its interval; `n` counts what it was measured on."""

    value: Share
    low: Share
    high: Share
    confidence: Share
    n: Count

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"the interval's low {self.low} is above its high {self.high}")
        return self


class LengthControlled(_Evidence):
    """The win rate that AlpacaEval 2's regression predicts for answers of equal length (arXiv 2404.04475)."""

    value: Share
    low: Share
    high: Share


class WinRate(_Evidence):
    """(wins + ties / 2) / all comparisons, with an interval clustered by prompt.

    A comparison is a win when the mean of its valid verdicts' probabilities is above 0.5, a tie at 0.5. Two identical
    texts are a tie that no judge is asked about.
    """

    value: Share
    low: Share
    high: Share
    confidence: Share
    n_prompts: Annotated[int, Field(ge=1)]
    wins: Count
    ties: Count
    losses: Count
    length_controlled: LengthControlled | None  # None for few prompts, or where nothing tells strength from length
    p_value: Share | None  # of a draw, by the exact sign-flip test over prompts; None from before it was tested
    holm_p_value: Share | None  # of a cohort: the same, adjusted for the number of cohorts

    @model_validator(mode="before")
    @classmethod
    def _of_an_older_version(cls, stored: Any) -> Any:
        """What was stored before a figure was measured has none."""
        absent = dict.fromkeys(("length_controlled", "p_value", "holm_p_value"))
        return {**absent, **stored} if isinstance(stored, dict) else stored

    @model_validator(mode="after")
    def _is_ordered(self) -> Self:
        if self.low > self.high:
            raise ValueError(f"the interval's low {self.low} is above its high {self.high}")
        return self


class JudgeMetrics(_Evidence):
    """How a judge behaved over the verdicts of one stage."""

    verdicts: Count
    coverage: Share  # valid verdicts / verdicts
    invalid: dict[InvalidReason, Annotated[int, Field(ge=1)]]
    position_consistency: Share | None  # share of comparisons whose two orders agree; None without both orders
    first_position_preference: Annotated[float, Field(ge=-1, le=1)] | None  # (first both - second both) / n
    prefer_longer_share: Share | None  # how often the longer completion wins, among those that differ in length


class PreferenceMetrics(_Evidence):
    """What became of the comparisons. `comparisons` is `kept` and everything in `dropped`, of both splits."""

    comparisons: Count
    kept: Count
    comparisons_train: Count  # of `comparisons`, those of train prompts: held-out ones are never trained on
    kept_train: Count  # what training learns from
    dropped: dict[str, Annotated[int, Field(ge=1)]]  # Preference.drop_reason -> how many
    ties: Count  # kept, but believed to be a tie
    mean_margin: Share | None  # mean |2p - 1| of what was kept

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if self.comparisons != self.kept + sum(self.dropped.values()):
            raise ValueError(f"{self.comparisons} comparisons are not {self.kept} kept and {self.dropped} dropped")
        if not self.kept_train <= self.comparisons_train <= self.comparisons or self.kept_train > self.kept:
            raise ValueError(
                f"{self.kept_train} of {self.comparisons_train} train comparisons kept cannot be among {self.kept} of "
                f"{self.comparisons}"
            )
        return self


class HeldOutLikelihood(_Evidence):
    """How likely a model finds held-out answers, none of whose prompts it was trained on."""

    nll: Number  # mean negative log-likelihood, nats an answer token
    perplexity: Number
    tokens: Count
    answers: Count


class RevisionExample(_Evidence):
    """One answer and what became of it."""

    prompt_id: str  # the author's own
    prompt: list[dict[str, Any]]
    principle: str  # by which it was criticised last
    critique: str
    before: str
    after: str


class WarmStartMetrics(_Evidence):
    """What a warm start learned from, what was left out of it, and how it changed the model on held-out answers."""

    method: str
    prompts: Count  # train prompts
    examples: Count  # what was learned from
    cut_examples: Count  # of `examples`, those that were not finished, or were cut at max_length
    left_out: dict[str, Annotated[int, Field(ge=1)]]  # why a train prompt gave no example -> how many
    outcomes: dict[str, Annotated[int, Field(ge=1)]]  # of constitutional: what became of the answers -> how many
    before: HeldOutLikelihood | None  # of the base model; None without held-out answers
    after: HeldOutLikelihood | None  # of the warm start, on the same answers
    shown: list[RevisionExample]
    resumed_from: Count | None  # the step from which an interrupted training went on
    rejected_states: list[str]


class HeldOutMetrics(_Evidence):
    """A reward model on held-out pairs, none of whose prompts it was trained on. Ties are left out."""

    held_out_accuracy: Estimate | None  # None when no held-out pair prefers a side
    prefer_longer_accuracy: Share | None  # the baseline: the same pairs, decided by length alone
    shorter_right_accuracy: Share | None  # accuracy where the judge prefers the shorter completion
    ece: Share | None  # expected calibration error, 10 bins
    length_correlation: Annotated[float, Field(ge=-1, le=1)] | None  # Pearson, reward and tokens
    held_out_pairs: Count


class EnsembleMetrics(_Evidence):
    """How far the members of a reward model agree on held-out pairs that are no ties."""

    members: Annotated[int, Field(ge=2)]
    member_accuracies: list[Share]  # empty when no held-out pair prefers a side
    disagreement: Share | None  # share of pairs on which not all members prefer the same side
    margin_deviation: Annotated[float, Field(ge=0)] | None  # of the members' margins, mean over pairs


class RewardModelMetrics(HeldOutMetrics):
    """How the reward model does on held-out pairs, what it was trained on, and what was cut or left out for it."""

    train_pairs: Count
    truncated_pairs: Count  # of `train_pairs`, those cut at max_length
    identical_pairs: Count  # left out: the same once cut
    overlong_prompts: Count  # left out: pairs whose prompt leaves no room for an answer
    held_out_left_out: Count  # held-out pairs left out for one of these reasons
    ensemble: EnsembleMetrics | None  # of one that has members
    resumed_from: Count | None  # the step from which an interrupted training went on
    rejected_states: list[str]  # saved states that were found damaged, and why


class LengthDifference(_Evidence):
    """Tokens of the completions that were compared."""

    policy_mean_tokens: Annotated[float, Field(ge=0)]
    base_mean_tokens: Annotated[float, Field(ge=0)]
    difference_mean: Number  # policy - base, by pair
    longer_wins_share: Share | None  # None when no pair differs in length and has a winner


class RewardDifference(_Evidence):
    """The run's reward model on the same pairs. It trained the policy's data: evidence of learning, not of quality."""

    policy_mean: Number
    base_mean: Number
    difference: Number
    win_rate: Share


class Divergence(_Evidence):
    """How far the policy has gone from the run's base model, on its own held-out completions.

    `kl` is the mean over completions of log p_policy - log p_base, in nats a completion: a Monte Carlo estimate of the
    KL divergence where sampling neither sharpens nor cuts the distribution. Intervals resample prompts.
    """

    kl: Measured | None  # None where no completion fits into the window
    length_ratio: Measured | None  # tokens of the policy's completions / of the base model's that they met
    left_out: Count  # completions that exceed the window with their prompt, or were cut before their first token


class Distribution(_Evidence):
    """Of base and policy completions over common bins: one more edge than counts, from low to high."""

    edges: Annotated[list[Number], Field(min_length=2, max_length=101)]
    base: list[Count]
    policy: list[Count]


class Example(_Evidence):
    """One held-out prompt, before and after. `probability` is P(policy is better), None without a valid verdict."""

    prompt_id: str
    cohort: str
    prompt: list[dict[str, Any]]
    base: str
    policy: str
    probability: Share | None


class BestOfN(_Evidence):
    """The mean reward of the best of n base completions by the reward model; `kl` bounds its KL from the base."""

    n: Annotated[int, Field(ge=1)]
    reward: Number
    kl: Annotated[float, Field(ge=0)]


class Refusals(_Evidence):
    """Answers with a phrase of refusal, before and after; `p_value` is the exact sign test's over prompts."""

    base_share: Share
    policy_share: Share
    n: Annotated[int, Field(ge=1)]  # pairs of answers
    p_value: Share


class Reason(_Evidence):
    """One gate of `recipe.evaluate.gates`: whether it held, what was asked, what was measured."""

    gate: str
    held: bool
    detail: str


class Promotion(_Evidence):
    """Whether the policy may take its base model's place: when every gate that was asked held."""

    promoted: bool
    reasons: list[Reason]  # one a gate: none where nothing was asked


class EvaluationMetrics(_Evidence):
    """The policy against the base model on held-out prompts, in both orders, by a judge that did not train it."""

    win_rate: WinRate
    by_cohort: dict[str, WinRate]  # cohorts without one valid comparison are absent
    control: WinRate | None  # base against base, the same judge: about 0.5 unless the instrument is biased
    judge: JudgeMetrics
    length: LengthDifference
    reward: RewardDifference | None  # None when the run has no reward model
    divergence: Divergence | None  # None when it was measured before there was this figure
    disagreement_with_training_judge: Share | None  # on comparisons where both judges prefer a side
    circular: bool  # the evaluation judge is the training judge, which the client allowed
    examples: Annotated[list[Example], Field(max_length=20)]
    tokens: Distribution | None
    rewards: Distribution | None  # None when the run has no reward model
    best_of_n: list[BestOfN]  # empty when the run has no reward model, or one base completion a prompt
    chosen_by_reward: WinRate | None  # of two base completions the one with the higher reward, by the evaluation judge
    refusals: dict[str, Refusals]  # by cohort
    tasks: dict[str, TaskResult]  # capability tasks, by the name that the recipe gives them
    evaluators: dict[str, EvaluatorResult]  # by name
    promotion: Promotion | None  # None when it was measured before there were gates

    @model_validator(mode="before")
    @classmethod
    def _of_an_older_version(cls, stored: Any) -> Any:
        """What was stored before a figure was measured has none."""
        absent: dict[str, Any] = {"refusals": {}, "best_of_n": [], "tasks": {}, "evaluators": {}}
        absent |= dict.fromkeys(("divergence", "tokens", "rewards", "chosen_by_reward", "promotion"))
        return {**absent, **stored} if isinstance(stored, dict) else stored
