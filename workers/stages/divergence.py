"""Measures how far a policy has gone from the run's base model: KL and length of its held-out completions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.repositories.checkpoints import CheckpointRow
from app.repositories.completions import CompletionRow
from app.repositories.prompts import PromptRow
from app.rlaif.evidence import Divergence
from app.rlaif.logistic import Floats
from app.rlaif.resampling import Resampler
from app.rlaif.seeds import derive_seed
from workers.stages.contract import StageContext
from workers.stages.inputs import StageInputs
from workers.stages.training import ends_explained
from workers.stages.weights import model_directory


@dataclass(frozen=True, slots=True)
class Match:
    """A policy completion and the base completion of the same prompt and position."""

    prompt: PromptRow
    policy: CompletionRow
    base: CompletionRow


def divergence(
    context: StageContext, inputs: StageInputs, checkpoint: CheckpointRow, matches: Sequence[Match]
) -> Divergence:
    """Of a policy whose weights are at hand. Raises GiveBack, StageRefused."""
    work = context.work
    resampler = Resampler(
        derive_seed(work.recipe.seed, work.round, "divergence"), work.recipe.evaluate.bootstrap_samples
    )
    prompts = [match.prompt.external_id for match in matches]
    ratios = _log_ratios(context, inputs, checkpoint, matches)
    lengths = np.array([(match.policy.length, match.base.length) for match in matches], dtype=np.float64)
    return Divergence(
        kl=resampler.mean(prompts, [np.nan if ratio is None else ratio for ratio in ratios]),
        length_ratio=resampler.ratio_of(prompts, lengths, _ratio, n=len(matches)),
        left_out=sum(ratio is None for ratio in ratios),
    )


def _ratio(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] / sums[..., 1])


def _log_ratios(
    context: StageContext, inputs: StageInputs, checkpoint: CheckpointRow, matches: Sequence[Match]
) -> list[float | None]:
    from workers.training.divergence import Answer, log_ratios  # torch

    answers = [
        Answer(match.prompt.messages, match.policy.text, match.policy.finish_reason == "stop", tools=match.prompt.tools)
        for match in matches
    ]
    policy, base = (model_directory(context, row.storage_key) for row in (checkpoint, inputs.base_model()))
    with ends_explained():
        return log_ratios(policy, base, answers, progress=context.progress)
