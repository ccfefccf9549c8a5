"""How far a policy has gone from the model that it began as: log-probabilities of its own answers under both.

The mean of log p_policy - log p_base over the policy's samples is the plain Monte Carlo estimate of their KL divergence
(unbiased, and here per completion; Schulman, "Approximating KL divergence", 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from workers.sampling.language_model import LanguageModel
from workers.training.checkpoint import load_policy
from workers.training.completion_logprobs import CompletionScorer
from workers.training.contracts import Messages, Progress, Tools, TrainingStopped
from workers.training.pairs import encode_answer
from workers.training.reference import batches_by_length
from workers.training.shared_prompts import PromptGroup


@dataclass(frozen=True)
class Answer:
    """A sampled answer; `ended` says whether the model ended it, or was cut off."""

    prompt: Messages
    completion: str
    ended: bool
    tools: Tools | None = None


def log_ratios(
    policy_dir: Path, base_dir: Path, answers: Sequence[Answer], *, progress: Progress
) -> list[float | None]:
    """log p_policy - log p_base of each answer with its stop token, in nats; None for one beyond the base's window.

    Both models are scored in float32, one after the other. The texts are encoded anew, which gives the sampled tokens
    wherever the tokenizer has one way to write a text. Raises `TrainingStopped` between batches,
    `TemplateRewritesPrompt`.
    """
    base = load_policy(base_dir)
    groups = [_encode(base, answer) for answer in answers]
    scored = [
        index
        for index, group in enumerate(groups)
        if group.completions[0] and (base.window is None or group.longest <= base.window)
    ]
    chosen, total = [groups[index] for index in scored], 2 * len(scored)
    under_base = _sums(base, chosen, progress, done=0, total=total)
    del base  # before the other is loaded: one model's memory is enough
    under_policy = _sums(load_policy(policy_dir), chosen, progress, done=len(scored), total=total)
    ratios: list[float | None] = [None] * len(answers)
    for index, ratio in zip(scored, (under_policy - under_base).tolist(), strict=True):
        ratios[index] = ratio
    return ratios


def _encode(model: LanguageModel, answer: Answer) -> PromptGroup:
    prompt, completion = encode_answer(
        model.tokenizer, model.stop_ids, answer.prompt, answer.completion, tools=answer.tools
    )
    return PromptGroup(prompt, (completion if answer.ended else completion[:-1],))


@torch.inference_mode()
def _sums(
    model: LanguageModel, groups: Sequence[PromptGroup], progress: Progress, *, done: int, total: int
) -> torch.Tensor:
    """Log-probabilities (groups,) in float64."""
    scorer, values = CompletionScorer(model.model), torch.empty(len(groups), dtype=torch.float64)
    for batch in batches_by_length(groups):
        if progress.should_stop():
            raise TrainingStopped(done, total)
        values[batch] = scorer.sums([groups[index] for index in batch]).double().cpu()
        done += len(batch)
        progress.report(done, total, {})
    return values
