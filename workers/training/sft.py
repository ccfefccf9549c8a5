"""Supervised fine-tuning: a causal model learns to give the answers that it is shown.

    loss = mean over a batch's answer tokens of -log p(token | prompt, answer so far)

The stop token is one of them where the answer is finished. Prompts are read and never learned. Of accumulated batches
each counts by its answers, where TRL counts by tokens.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from app.rlaif.evidence import HeldOutLikelihood
from workers.sampling.language_model import LanguageModel
from workers.training import ranks
from workers.training.adapters import Adapters
from workers.training.checkpoint import load_policy, save_model
from workers.training.completion_logprobs import CompletionScorer
from workers.training.contracts import Demonstration, NoTrainingData, Optimisation, Progress, TrainingStopped
from workers.training.figures import Mean
from workers.training.loop import BatchLoss, Loop
from workers.training.optimiser import autocast
from workers.training.pairs import encode_answer, fingerprint, within_window
from workers.training.shared_prompts import PromptGroup

_COMPARED = 8  # examples on which merged weights are compared with adapters


@dataclass(frozen=True, kw_only=True)
class SFTConfig(Optimisation):
    """Settings as the warm start of a recipe has them."""

    learning_rate: float = 1e-5
    epochs: int = 2
    batch_size: int = 16


@dataclass(frozen=True)
class SFTData:
    """Answers to learn, and answers to other prompts to be measured on."""

    train: Sequence[Demonstration]
    held_out: Sequence[Demonstration]


@dataclass(frozen=True)
class SFTResult:
    """What was trained on, what was cut or left out, how it went, and held-out answers before and after.

    `metrics` are means over the last epoch.
    """

    steps: int
    examples: int
    cut_examples: int
    overlong_prompts: int
    losses: tuple[float, ...]
    metrics: dict[str, float]
    before: HeldOutLikelihood | None
    after: HeldOutLikelihood | None
    resumed_from: int | None
    rejected_states: tuple[str, ...]


@dataclass(frozen=True)
class EncodedExample:
    """Token ids of a prompt (with the generation prompt) and of its answer."""

    id: str
    prompt: tuple[int, ...]
    completion: tuple[int, ...]

    @property
    def length(self) -> int:
        return len(self.prompt) + len(self.completion)

    @property
    def token_count(self) -> int:
        return self.length

    @property
    def group(self) -> PromptGroup:
        return PromptGroup(self.prompt, (self.completion,))


@dataclass(frozen=True)
class EncodedExamples:
    """Examples in the order of their ids, how many of them do not end, and how many others were left out."""

    examples: tuple[EncodedExample, ...]
    cut: int
    overlong_prompts: int


def train_sft(config: SFTConfig, data: SFTData, out_dir: Path, progress: Progress) -> SFTResult:
    """Train the model of `config.model_dir` on demonstrations and write it to `out_dir`.

    `out_dir/.state` is what a later call with the same arguments resumes from; it is no part of the model. Raises
    `NoTrainingData`, `NonFiniteLoss`, `TrainingStopped`, `StateMismatch`, `TemplateRewritesPrompt`, `MergeDiffers`.
    """
    policy = load_policy(config.model_dir, lora=config.lora)
    max_length = within_window(config.max_length, policy.model)
    train = encode_examples(policy, data.train, max_length=max_length)
    held_out = encode_examples(policy, data.held_out, max_length=max_length).examples
    if not train.examples:
        reason = f"{train.overlong_prompts} with a prompt that fills max_length or the model's window"
        raise NoTrainingData(len(data.train), f"{reason}; bring demonstrations or raise max_length")
    scorer = CompletionScorer(policy.model)
    before = measure(scorer, held_out, config, progress)
    adapters = config.lora and Adapters(policy.model, config.lora, seed=config.seed, head=None)
    trajectory = Loop(
        policy.model,
        train.examples,
        SFTObjective(scorer),
        config=config,
        fingerprint=fingerprint(
            asdict(config) | {"model_dir": None, "save_steps": None, "health": None}, train.examples
        ),
        state_dir=out_dir / ".state",
        progress=progress,
    ).run()
    if adapters:
        adapters.save(out_dir)
        adapters.merge(lambda: scorer.sums([example.group for example in train.examples[:_COMPARED]]))
    after = measure(scorer, held_out, config, progress)
    save_model(policy.model, policy.tokenizer, out_dir, base_dir=config.model_dir)
    return SFTResult(
        steps=len(trajectory.losses),
        examples=len(train.examples),
        cut_examples=train.cut,
        overlong_prompts=train.overlong_prompts,
        losses=trajectory.losses,
        metrics=trajectory.metrics,
        before=before,
        after=after,
        resumed_from=trajectory.resumed_from,
        rejected_states=trajectory.rejected_states,
    )


def encode_examples(
    policy: LanguageModel, demonstrations: Sequence[Demonstration], *, max_length: int
) -> EncodedExamples:
    """Token ids of at most `max_length` an example; answers keep their start, and end only where they are whole.

    Raises `TemplateRewritesPrompt`.
    """
    kept: list[EncodedExample] = []
    cut = overlong = 0
    for each in sorted(demonstrations, key=lambda demonstration: demonstration.id):
        prompt, completion = encode_answer(
            policy.tokenizer, policy.stop_ids, each.prompt, each.completion, tools=each.tools
        )
        answer = completion if each.finished else completion[:-1]
        room = max_length - len(prompt)
        if room < 1 or not answer:
            overlong += 1
            continue
        cut += not each.finished or len(answer) > room
        kept.append(EncodedExample(each.id, tuple(prompt), tuple(answer[:room])))
    return EncodedExamples(tuple(kept), cut, overlong)


@dataclass(frozen=True)
class SFTObjective:
    """The loss of a batch. The figures are over its tokens, so that they do not depend on how it was cut."""

    scorer: CompletionScorer

    def __call__(self, batch: Sequence[EncodedExample]) -> BatchLoss:
        nll = -self.scorer.sums([example.group for example in batch]).sum()
        tokens = nll.new_tensor(sum(len(example.completion) for example in batch))
        loss = ranks.ratio(nll, tokens, items=len(batch))
        return BatchLoss(loss, {"nll": Mean(nll.detach().float(), tokens)})


@torch.no_grad()
def measure(
    scorer: CompletionScorer, examples: Sequence[EncodedExample], config: SFTConfig, progress: Progress
) -> HeldOutLikelihood | None:
    """How likely a model finds answers; None where there are none. Raises `TrainingStopped` between batches."""
    ordered = sorted(examples, key=lambda example: example.length)
    total = 0.0
    for start in range(0, len(ordered), config.batch_size):
        if progress.should_stop():
            raise TrainingStopped(start, len(ordered))
        batch = ordered[start : start + config.batch_size]
        with autocast(scorer.device, config.precision):
            total -= float(scorer.sums([example.group for example in batch]).sum())
    tokens = sum(len(example.completion) for example in ordered)
    if tokens == 0:
        return None
    nll = total / tokens
    return HeldOutLikelihood(nll=nll, perplexity=math.exp(nll), tokens=tokens, answers=len(ordered))
