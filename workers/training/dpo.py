"""Direct preference optimisation on soft labels (Rafailov et al., arXiv 2305.18290), and the losses that followed it.

    loss = mean over pairs of weight * pair loss  +  sft_weight * nll

`workers.training.preference_losses` has the pair losses. `nll` is the negative log-likelihood per token of a batch's
better completions, each scaled by its certainty, weight * |2p - 1|: a tie teaches no wording, and hard labels give
TRL's `["sigmoid", "sft"]`. It keeps the policy from lowering both completions in favour of text that nobody sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from app.rlaif.health import PreferenceHealth
from app.rlaif.preference_loss import LOSS_SETTINGS, PreferenceLoss
from workers.training import ranks
from workers.training.adapters import Adapters
from workers.training.checkpoint import load_policy, save_model
from workers.training.completion_logprobs import CompletionScorer
from workers.training.contracts import NoTrainingData, Optimisation, PreferencePair, Progress
from workers.training.figures import Mean
from workers.training.loop import BatchLoss, Loop
from workers.training.pairs import EncodedPair, PairEncoder, fingerprint, within_window
from workers.training.preference_losses import CompletionScores, PairLoss
from workers.training.reference import ReferenceCache, no_reference, reference_logprobs
from workers.training.shared_prompts import PromptGroup

_COMPARED = 8  # pairs on which merged weights are compared with adapters


@dataclass(frozen=True, kw_only=True)
class DPOConfig(Optimisation):
    """Settings as `PolicyConfig` has them; `gamma` and `label_smoothing` are None where the loss has none."""

    learning_rate: float = 1e-6
    epochs: int = 2
    batch_size: int = 16
    loss: PreferenceLoss = PreferenceLoss.SIGMOID
    beta: float = 0.1
    sft_weight: float = 0.5
    gamma: float | None = None
    label_smoothing: float | None = None
    health: PreferenceHealth = field(default_factory=PreferenceHealth)


@dataclass(frozen=True)
class DPOResult:
    """What was trained on, what was cut or left out, and how it went.

    `metrics` are means over the last epoch. Its `reference_kl` estimates KL(reference || policy) in nats a completion,
    sound where the reference itself drew the completions.
    """

    steps: int
    pairs: int
    truncated_pairs: int
    identical_pairs: int
    overlong_prompts: int
    reference_cached_pairs: int
    losses: tuple[float, ...]
    metrics: dict[str, float]
    resumed_from: int | None
    rejected_states: tuple[str, ...]


@dataclass(frozen=True)
class ReferencedPair:
    """A pair and the reference's log-probabilities, in nats: of its completions, and of `unrelated` where that is.

    `unrelated` answers another prompt; the losses that have no use for it have none, and zeros stand for the values of
    a reference that a loss does not have.
    """

    pair: EncodedPair
    reference: tuple[float, ...]
    unrelated: tuple[int, ...] | None = None

    @property
    def length(self) -> int:
        return self.pair.length

    @property
    def token_count(self) -> int:
        return self.pair.token_count

    @property
    def group(self) -> PromptGroup:
        return group_of(self.pair, self.unrelated)


def group_of(pair: EncodedPair, unrelated: tuple[int, ...] | None) -> PromptGroup:
    return PromptGroup(pair.prompt, (pair.first, pair.second, *([] if unrelated is None else [unrelated])))


def train_dpo(
    config: DPOConfig,
    data: Sequence[PreferencePair],
    out_dir: Path,
    progress: Progress,
    *,
    references: ReferenceCache | None = None,
) -> DPOResult:
    """Train the model of `config.model_dir` on preferences and write it to `out_dir`.

    `out_dir/.state` is what a later call with the same arguments resumes from; it is no part of the model. The
    reference's log-probabilities are kept there too, or in `references`, where other trainings find them. Raises
    `NoTrainingData`, `NonFiniteLoss`, `TrainingStopped`, `StateMismatch`, `TemplateRewritesPrompt`, `MergeDiffers`.
    """
    policy = load_policy(config.model_dir, lora=config.lora)
    max_length = within_window(config.max_length, policy.model)
    encoder = PairEncoder(policy.tokenizer, policy.stop_ids, max_length, close_truncated=False)
    encoded = encoder.encode_pairs(data)
    encoded.require_signal(len(data))
    identity = fingerprint(asdict(config) | {"model_dir": None, "save_steps": None, "health": None}, encoded.pairs)
    scorer = CompletionScorer(policy.model)
    others = unrelated_completions(encoded.pairs, max_length) if config.loss is PreferenceLoss.KTO else None
    unrelated = others or (None,) * len(encoded.pairs)
    cache = references or ReferenceCache(out_dir / ".state" / "reference", model=identity)
    if config.lora is not None and config.lora.quantization is not None:
        cache = replace(cache, model=f"{cache.model} in {config.lora.quantization}")
    groups = list(map(group_of, encoded.pairs, unrelated))
    has_reference = LOSS_SETTINGS[config.loss].has_reference
    reference = (
        reference_logprobs(groups, scorer, cache, precision=config.precision, progress=progress)
        if has_reference
        else no_reference(groups)
    )
    adapters = config.lora and Adapters(policy.model, config.lora, seed=config.seed, head=None)
    trajectory = Loop(
        policy.model,
        tuple(map(ReferencedPair, encoded.pairs, reference.values, unrelated)),
        DPOObjective.of(config, scorer),
        config=config,
        fingerprint=identity,
        state_dir=out_dir / ".state",
        progress=progress,
    ).run()
    if adapters:
        adapters.save(out_dir)
        adapters.merge(lambda: scorer.sums(groups[:_COMPARED]))
    save_model(policy.model, policy.tokenizer, out_dir, base_dir=config.model_dir)
    return DPOResult(
        steps=len(trajectory.losses),
        pairs=len(encoded.pairs),
        truncated_pairs=encoded.truncated_pairs,
        identical_pairs=encoded.identical_pairs,
        overlong_prompts=encoded.overlong_prompts,
        reference_cached_pairs=len(encoded.pairs) if reference.from_cache else 0,
        losses=trajectory.losses,
        metrics=trajectory.metrics,
        resumed_from=trajectory.resumed_from,
        rejected_states=trajectory.rejected_states,
    )


def unrelated_completions(pairs: Sequence[EncodedPair], max_length: int) -> tuple[tuple[int, ...], ...]:
    """For each pair a completion of another prompt, half the data away: pairs of one prompt stand together.

    Raises `NoTrainingData` when there is one prompt alone.
    """
    if len({pair.prompt for pair in pairs}) < 2:
        raise NoTrainingData(len(pairs), "all of one prompt, and kto compares with other prompts; choose another loss")
    found = []
    for index, pair in enumerate(pairs):
        start = index + len(pairs) // 2
        others = (pairs[at % len(pairs)] for at in range(start, start + len(pairs)))
        other = next(other for other in others if other.prompt != pair.prompt)
        found.append(other.first[: max_length - len(pair.prompt)])
    return tuple(found)


@dataclass(frozen=True)
class DPOObjective:
    """The loss of a batch, and the figures by which people watch DPO: rewards are beta * log(pi / ref).

    A tie has no chosen side and is in none of the figures of chosen and rejected completions.
    """

    scorer: CompletionScorer
    pair_loss: PairLoss
    sft_weight: float

    @classmethod
    def of(cls, config: DPOConfig, scorer: CompletionScorer) -> DPOObjective:
        return cls(scorer, PairLoss(config.loss, config.beta, config.gamma, config.label_smoothing), config.sft_weight)

    def __call__(self, batch: Sequence[ReferencedPair]) -> BatchLoss:
        scores = self._scores(batch)
        labels = [(item.pair.probability, item.pair.weight) for item in batch]
        probability, weight = torch.tensor(labels, device=scores.policy.device).unbind(1)
        rewards = self.pair_loss.rewards(scores)
        preference = weight * self.pair_loss(rewards, probability)
        nll = _certain_nll(scores, probability, weight)
        with torch.no_grad():
            metrics = {
                "preference_loss": Mean.over(preference),
                "sft_loss": Mean.over(nll.expand(len(batch))),
                **_watched(scores, rewards, probability),
            }
            if LOSS_SETTINGS[self.pair_loss.loss].has_reference:
                metrics["reference_kl"] = Mean.over((scores.reference - scores.policy)[:, :2].mean(dim=1))
        return BatchLoss(preference.mean() + self.sft_weight * nll, metrics)

    def _scores(self, batch: Sequence[ReferencedPair]) -> CompletionScores:
        groups = [item.group for item in batch]
        policy = self.scorer.sums(groups).view(len(batch), -1)
        reference = torch.tensor([item.reference for item in batch], device=policy.device)
        tokens = [[len(completion) for completion in group.completions] for group in groups]
        return CompletionScores(policy, reference, torch.tensor(tokens, device=policy.device))


def _certain_nll(scores: CompletionScores, probability: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    first_is_better = probability >= 0.5
    better = torch.where(first_is_better, scores.policy[:, 0], scores.policy[:, 1])
    tokens = torch.where(first_is_better, scores.tokens[:, 0], scores.tokens[:, 1])
    certain = weight * (2 * probability - 1).abs() * better
    return -ranks.ratio(certain.sum(), tokens.sum(), items=len(tokens))


def _watched(scores: CompletionScores, rewards: torch.Tensor, probability: torch.Tensor) -> dict[str, Mean]:
    """Log-probabilities, lengths and rewards of the better and of the worse completions of pairs that are no ties."""
    decided = probability != 0.5
    chosen_logp, rejected_logp = _sides(scores.policy, probability)
    chosen_tokens, rejected_tokens = _sides(scores.tokens.float(), probability)
    chosen, rejected = _sides(rewards, probability)
    return {
        "chosen_logp": Mean.over(chosen_logp, decided),
        "rejected_logp": Mean.over(rejected_logp, decided),
        "chosen_tokens": Mean.over(chosen_tokens, decided),
        "rejected_tokens": Mean.over(rejected_tokens, decided),
        "chosen_reward": Mean.over(chosen, decided),
        "rejected_reward": Mean.over(rejected, decided),
        "margin": Mean.over(chosen - rejected, decided),
        "accuracy": Mean.over((chosen > rejected).float(), decided),
    }


def _sides(values: torch.Tensor, probability: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Those (pairs,) of the better and of the worse completions."""
    first, second = values[:, 0], values[:, 1]
    return torch.where(probability >= 0.5, first, second), torch.where(probability >= 0.5, second, first)
