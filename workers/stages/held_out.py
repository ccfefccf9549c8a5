"""Who looks at a policy in training from outside: the run's evaluation judge, on a few held-out prompts."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from app.db.models import Split
from app.rlaif.online_policy import OnlinePolicyConfig
from app.rlaif.seeds import derive_seed
from workers.stages.contract import StageContext
from workers.stages.inputs import StageInputs, all_prompts
from workers.stages.judge_reward import rating

if TYPE_CHECKING:
    from workers.training.looks import HeldOut


def held_out(context: StageContext, inputs: StageInputs, recipe: OnlinePolicyConfig) -> HeldOut | None:
    """None where nobody is to look, or at nothing. Raises StageRefused for a judge that rates nothing by itself."""
    from workers.training.looks import HeldOut  # torch
    from workers.training.rollouts import TrainPrompt

    judge = inputs.run.evaluation_judge
    if judge is None or inputs.run.rubric is None:
        return None
    every = recipe.health.looks_every(judge_is_program=judge.spec["kind"] == "checks")
    if every is None:
        return None
    prompts = list(chain.from_iterable(all_prompts(context, inputs.run.prompt_set_id, split=Split.HELD_OUT)))
    seed = context.work.recipe.seed
    chosen = sorted(prompts, key=lambda prompt: derive_seed(seed, "look", prompt.external_id))
    chosen = chosen[: recipe.health.judge_prompts]
    if not chosen:
        return None
    judging = rating(context, judge, inputs.rubric(), chosen, field="policy.health.judge_every", may_lack=True)
    asked = [TrainPrompt(prompt.external_id, prompt.messages, prompt.tools) for prompt in chosen]
    return HeldOut(asked, judging, every)
