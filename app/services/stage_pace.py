"""What the time of a stage grows with, and how long one takes at a past one's pace."""

from __future__ import annotations

from app.repositories.paces import PastStage
from app.rlaif.estimate import Span
from app.rlaif.online_policy import OnlinePolicyConfig
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.sweep import candidates
from app.rlaif.training import PolicyConfig
from app.rlaif.warm_start import written


def work(recipe: Recipe, kind: StageKind, train_prompts: int) -> int:
    """What the time of a stage grows with: train prompts, once an epoch; or a policy's own answers."""
    match kind:
        case StageKind.WARM_START if recipe.warm_start is not None:
            return written(recipe.warm_start, prompts=train_prompts) or train_prompts * recipe.warm_start.epochs
        case StageKind.REWARD_MODEL:
            return train_prompts * recipe.reward_model.epochs
        case StageKind.POLICY:
            return sum(_policy_work(one.policy, train_prompts) for one in candidates(recipe))
        case _:
            return train_prompts


def _policy_work(policy: PolicyConfig | OnlinePolicyConfig, train_prompts: int) -> int:
    if isinstance(policy, PolicyConfig):
        return train_prompts * policy.epochs
    return policy.steps * policy.prompts_per_step * policy.completions


def drawn(past: PastStage) -> int:
    """How many completions the run sampled, at most."""
    evaluates = StageKind.EVALUATE in past.recipe.stages()
    own = past.recipe.sample.source == "model"
    held_out = past.recipe.sample.held_out_completions * past.held_out_prompts if own or evaluates else 0
    return held_out + (past.recipe.sample.completions * past.train_prompts if own else 0)


def at_pace(past: PastStage, seconds: float) -> tuple[Span, str]:
    """Half as long to twice as long, and whose pace it is."""
    return Span(low=seconds / 2, expected=seconds, high=2 * seconds), f"at the pace of run {past.run_id}, one worker"
