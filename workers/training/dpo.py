"""Direct preference optimisation on soft labels (Rafailov et al., arXiv 2305.18290; cDPO generalised to any label).

    z    = beta * ((log pi(first) - log ref(first)) - (log pi(second) - log ref(second)))
    loss = mean over pairs of -weight * [p log sigmoid(z) + (1 - p) log sigmoid(-z)]  +  sft_weight * nll

`nll` is the negative log-likelihood per token of a batch's better completions, each scaled by its certainty,
weight * |2p - 1|: a tie teaches no wording, and hard labels give TRL's `["sigmoid", "sft"]`. It keeps the policy from
lowering both completions in favour of text that nobody sampled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from workers.training.checkpoint import load_policy, save_model
from workers.training.completion_logprobs import CompletionScorer, PairLogprobs
from workers.training.contracts import Optimisation, PreferencePair, Progress, TrainingStopped
from workers.training.figures import Mean
from workers.training.loop import BatchLoss, Loop, autocast
from workers.training.pairs import EncodedPair, PairEncoder, fingerprint, soft_log_loss, within_window
from workers.training.state import CorruptState, TrainingState, publish, read


@dataclass(frozen=True, kw_only=True)
class DPOConfig(Optimisation):
    """`beta` scales the implicit reward (nats); `sft_weight` 0 is plain DPO."""

    learning_rate: float = 1e-6
    epochs: int = 2
    batch_size: int = 16
    beta: float = 0.1
    sft_weight: float = 0.5


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
    losses: tuple[float, ...]
    metrics: dict[str, float]
    resumed_from: int | None
    rejected_states: tuple[str, ...]


@dataclass(frozen=True)
class ReferencedPair:
    """A pair with the log-probabilities, in nats, that the reference gives its two completions."""

    pair: EncodedPair
    first: float
    second: float

    @property
    def length(self) -> int:
        return self.pair.length

    @property
    def token_count(self) -> int:
        return self.pair.token_count


def train_dpo(config: DPOConfig, data: Sequence[PreferencePair], out_dir: Path, progress: Progress) -> DPOResult:
    """Train the model of `config.model_dir` on preferences and write it to `out_dir`.

    `out_dir/.state` is what a later call with the same arguments resumes from; it is no part of the model. Raises
    `NoTrainingData`, `NonFiniteLoss`, `TrainingStopped`, `StateMismatch`, `TemplateRewritesPrompt`.
    """
    policy = load_policy(config.model_dir)
    max_length = within_window(config.max_length, policy.model)
    encoder = PairEncoder(policy.tokenizer, policy.stop_ids, max_length, close_truncated=False)
    encoded = encoder.encode_pairs(data)
    encoded.require_signal(len(data))
    identity = fingerprint(asdict(config) | {"model_dir": None, "save_steps": None}, encoded.pairs)
    scorer = CompletionScorer(policy.model)
    reference = Reference(scorer, out_dir / ".state", identity)
    items = reference.attach(encoded.pairs, batch_size=config.batch_size, progress=progress)
    trajectory = Loop(
        policy.model,
        items,
        DPOObjective(scorer, beta=config.beta, sft_weight=config.sft_weight),
        config=config,
        fingerprint=identity,
        state_dir=out_dir / ".state",
        progress=progress,
    ).run()
    save_model(policy.model, policy.tokenizer, out_dir, base_dir=config.model_dir)
    return DPOResult(
        steps=len(trajectory.losses),
        pairs=len(encoded.pairs),
        truncated_pairs=encoded.truncated_pairs,
        identical_pairs=encoded.identical_pairs,
        overlong_prompts=encoded.overlong_prompts,
        losses=trajectory.losses,
        metrics=trajectory.metrics,
        resumed_from=trajectory.resumed_from,
        rejected_states=trajectory.rejected_states,
    )


class DPOObjective:
    """The loss of a batch, and the figures by which people watch DPO: rewards are beta * log(pi / ref).

    A tie has no chosen side and is in none of the figures of chosen and rejected completions.
    """

    def __init__(self, scorer: CompletionScorer, *, beta: float, sft_weight: float) -> None:
        self._scorer = scorer
        self._beta = beta
        self._sft_weight = sft_weight

    def __call__(self, batch: Sequence[ReferencedPair]) -> BatchLoss:
        policy = self._scorer.score([item.pair for item in batch])
        columns = [(item.pair.probability, item.pair.weight, item.first, item.second) for item in batch]
        probability, weight, ref_first, ref_second = torch.tensor(columns, device=policy.first.device).unbind(1)
        reward_first, reward_second = self._beta * (policy.first - ref_first), self._beta * (policy.second - ref_second)
        preference = soft_log_loss(reward_first - reward_second, probability)
        first_is_better = probability >= 0.5
        nll = _certain_nll(policy, first_is_better, certainty=weight * (2 * probability - 1).abs())
        chosen, rejected = _sides(first_is_better, reward_first, reward_second)
        chosen_logp, rejected_logp = _sides(first_is_better, policy.first, policy.second)
        with torch.no_grad():
            decided = probability != 0.5
            metrics = {
                "preference_loss": Mean.over(weight * preference),
                "sft_loss": Mean.over(nll.expand(len(batch))),
                "chosen_logp": Mean.over(chosen_logp, decided),
                "rejected_logp": Mean.over(rejected_logp, decided),
                "chosen_reward": Mean.over(chosen, decided),
                "rejected_reward": Mean.over(rejected, decided),
                "margin": Mean.over(chosen - rejected, decided),
                "accuracy": Mean.over((chosen > rejected).float(), decided),
                "reference_kl": Mean.over((ref_first - policy.first + ref_second - policy.second) / 2),
            }
        return BatchLoss((weight * preference).mean() + self._sft_weight * nll, metrics)


def _certain_nll(policy: PairLogprobs, first_is_better: torch.Tensor, *, certainty: torch.Tensor) -> torch.Tensor:
    better = torch.where(first_is_better, policy.first, policy.second)
    tokens = torch.where(first_is_better, policy.first_tokens, policy.second_tokens)
    return -(certainty * better).sum() / tokens.sum()


def _sides(first_is_better: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The values of the better and of the worse completions."""
    return torch.where(first_is_better, a, b), torch.where(first_is_better, b, a)


class Reference:
    """The reference's log-probabilities: computed once before the first step, kept for a resume."""

    def __init__(self, scorer: CompletionScorer, state_dir: Path, fingerprint: str) -> None:
        self._scorer = scorer
        self._path = state_dir / "reference"
        self._fingerprint = fingerprint

    def attach(
        self, pairs: Sequence[EncodedPair], *, batch_size: int, progress: Progress
    ) -> tuple[ReferencedPair, ...]:
        """Each pair with its reference; raises `TrainingStopped` between batches."""
        values = self._saved()
        if values is None:
            values = self._compute(pairs, batch_size, progress)
            publish(self._path, TrainingState(0, {"logprobs": values}, {"fingerprint": self._fingerprint}))
        return tuple(ReferencedPair(pair, *row) for pair, row in zip(pairs, values.tolist(), strict=True))

    def _saved(self) -> torch.Tensor | None:
        try:
            saved = read(self._path)
        except CorruptState:
            return None
        return saved.tensors["logprobs"] if saved.position["fingerprint"] == self._fingerprint else None

    @torch.no_grad()
    def _compute(self, pairs: Sequence[EncodedPair], batch_size: int, progress: Progress) -> torch.Tensor:
        order = sorted(range(len(pairs)), key=lambda index: pairs[index].length)
        values = torch.empty(len(pairs), 2)
        for start in range(0, len(order), batch_size):
            if progress.should_stop():
                raise TrainingStopped(0, len(order))
            rows = order[start : start + batch_size]
            with autocast(self._scorer.device):
                scored = self._scorer.score([pairs[row] for row in rows])
            values[rows] = torch.stack([scored.first, scored.second], dim=1).cpu()
        return values
