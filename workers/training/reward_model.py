"""The reward model: a Bradley-Terry model on soft labels, started from the policy's own start or from another backbone.

    d    = r(first) - r(second),  m = margin * |2p - 1|                         (margin: Llama 2, arXiv 2307.09288)
    loss = mean over pairs of -weight * [p log sigmoid(d - m) + (1 - p) log sigmoid(-d - m)]
         + centering * mean over pairs of (r(first) + r(second))^2        (Eisenstein et al., arXiv 2312.09244)

A causal model scores a conversation on the stop token that ends its answer, an encoder by its own pooling and head.
Completions cut at `max_length` get a stop token.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch

from app.rlaif.evidence import EnsembleMetrics, HeldOutMetrics
from app.rlaif.health import Alarm, RewardHealth
from workers.training.adapters import Adapters
from workers.training.checkpoint import ScalarModel, load_scalar_model, member_directory, save_model
from workers.training.contracts import Optimisation, PreferencePair, Progress, TrainingStopped
from workers.training.figures import Mean
from workers.training.held_out import ScoredPair, mean_of, measure, measure_ensemble
from workers.training.loop import BatchLoss, Loop, Trajectory
from workers.training.optimiser import autocast
from workers.training.pairs import (
    EncodedPair,
    PairEncoder,
    fingerprint,
    soft_log_loss,
    within_window,
)
from workers.training.scoring import rewards
from workers.training.shared_prompts import PromptGroup

_COMPARED = 8  # pairs on which merged weights are compared with adapters


@dataclass(frozen=True, kw_only=True)
class RewardModelConfig(Optimisation):
    """`centering` keeps rewards around zero, which a Bradley-Terry loss leaves free.

    `margin` is the lead in reward that a certain preference asks for; a tie asks for none. `members` models are trained
    from consecutive seeds, and their mean is the reward (Coste et al., arXiv 2310.02743). `template_dir` is the model
    whose chat template renders conversations for a backbone that has none.
    """

    learning_rate: float = 3e-6
    epochs: int = 2
    batch_size: int = 32
    centering: float = 0.01
    margin: float = 0.0
    members: int = 1
    health: RewardHealth = field(default_factory=RewardHealth)
    template_dir: Path | None = None


@dataclass(frozen=True)
class RewardModelData:
    """Pairs to learn from, and pairs of other prompts to be measured on."""

    train: Sequence[PreferencePair]
    held_out: Sequence[PreferencePair]


@dataclass(frozen=True)
class RewardModelResult:
    """What was trained on, what was cut or left out, how it went, and the measurement on held-out pairs.

    `metrics` are means over the last epoch and over members; steps and losses are those of all members.
    """

    steps: int
    pairs: int
    truncated_pairs: int
    identical_pairs: int
    overlong_prompts: int
    losses: tuple[float, ...]
    metrics: dict[str, float]
    held_out: HeldOutMetrics
    ensemble: EnsembleMetrics | None
    held_out_left_out: int
    resumed_from: int | None
    rejected_states: tuple[str, ...]


def train_reward_model(
    config: RewardModelConfig, data: RewardModelData, out_dir: Path, progress: Progress
) -> RewardModelResult:
    """Train a scalar head and the weights under it on preferences and write the model to `out_dir`.

    `out_dir/.state` is what a later call with the same arguments resumes from; it is no part of the model. Raises
    `NoTrainingData`, `NonFiniteLoss`, `TrainingStopped`, `StateMismatch`, `TemplateRewritesPrompt`, `MergeDiffers`.
    """
    encoder = pair_encoder(load_scalar_model(config.model_dir, template_dir=config.template_dir), config.max_length)
    encoded, held_out = encoder.encode_pairs(data.train), encoder.encode_pairs(data.held_out).pairs
    encoded.require_signal(len(data.train))
    members = [
        _train_member(
            replace(config, seed=config.seed + index),
            encoded.pairs,
            held_out,
            member_directory(out_dir, index),
            MemberProgress(progress, index, config.members),
        )
        for index in range(config.members)
    ]
    trajectories, scored = [member.trajectory for member in members], [member.held_out for member in members]
    return RewardModelResult(
        steps=sum(len(trajectory.losses) for trajectory in trajectories),
        pairs=len(encoded.pairs),
        truncated_pairs=encoded.truncated_pairs,
        identical_pairs=encoded.identical_pairs,
        overlong_prompts=encoded.overlong_prompts,
        losses=tuple(loss for trajectory in trajectories for loss in trajectory.losses),
        metrics=_mean_metrics(trajectories),
        held_out=measure(mean_of(scored), seed=config.seed),
        ensemble=measure_ensemble(scored, seed=config.seed) if config.members > 1 else None,
        held_out_left_out=len(data.held_out) - len(held_out),
        resumed_from=sum(trajectory.resumed_from or 0 for trajectory in trajectories) or None,
        rejected_states=tuple(state for trajectory in trajectories for state in trajectory.rejected_states),
    )


def pair_encoder(reward_model: ScalarModel, max_length: int) -> PairEncoder:
    """Turns pairs into what the model is trained and measured on."""
    return PairEncoder(
        reward_model.tokenizer,
        reward_model.stop_ids,
        within_window(max_length, reward_model.model),
        close_truncated=True,
        opening=reward_model.opening,
    )


@dataclass(frozen=True)
class _Member:
    trajectory: Trajectory
    held_out: list[ScoredPair]


def _train_member(
    config: RewardModelConfig,
    pairs: Sequence[EncodedPair],
    held_out: Sequence[EncodedPair],
    out_dir: Path,
    progress: Progress,
) -> _Member:
    """One model of the ensemble: head and order of the data are drawn from `config.seed`."""
    reward_model = load_scalar_model(
        config.model_dir, seed=config.seed, template_dir=config.template_dir, lora=config.lora
    )
    adapters = config.lora and Adapters(reward_model.model, config.lora, seed=config.seed, head=reward_model.head)
    trajectory = Loop(
        reward_model.model,
        pairs,
        RewardObjective(reward_model, centering=config.centering, margin=config.margin),
        config=config,
        fingerprint=fingerprint(
            asdict(config) | {"model_dir": None, "template_dir": None, "save_steps": None, "health": None}, pairs
        ),
        state_dir=out_dir / ".state",
        progress=progress,
    ).run()
    scored = _score_pairs(reward_model, held_out, config, progress)  # before a model in four bits goes to the CPU
    if adapters:
        adapters.save(out_dir)
        adapters.merge(lambda: torch.cat(pair_rewards(reward_model, pairs[:_COMPARED])))
    save_model(reward_model.model, reward_model.tokenizer, out_dir, base_dir=config.model_dir)
    return _Member(trajectory, scored)


@dataclass(frozen=True)
class MemberProgress:
    """The steps of one member among those of all."""

    whole: Progress
    index: int
    members: int

    def report(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        self.whole.report(self.index * total + step, self.members * total, metrics)

    def should_stop(self) -> bool:
        return self.whole.should_stop()

    def alarm(self, alarm: Alarm) -> None:
        self.whole.alarm(alarm.model_copy(update={"member": self.index if self.members > 1 else None}))


def _mean_metrics(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Over members that have the figure: one without a decided pair has no accuracy."""
    names = {name: None for trajectory in trajectories for name in trajectory.metrics}
    found = {name: [each.metrics[name] for each in trajectories if name in each.metrics] for name in names}
    return {name: sum(values) / len(values) for name, values in found.items()}


class RewardObjective:
    """The loss of a batch; accuracy and margin are those of the pairs that have a better side."""

    def __init__(self, reward_model: ScalarModel, *, centering: float, margin: float) -> None:
        self._reward_model = reward_model
        self._centering = centering
        self._margin = margin

    def __call__(self, batch: Sequence[EncodedPair]) -> BatchLoss:
        first, second = pair_rewards(self._reward_model, batch)
        labels = torch.tensor([(pair.probability, pair.weight) for pair in batch], device=first.device)
        probability, weight = labels.unbind(1)
        lead = self._margin * (2 * probability - 1).abs()
        preference = weight * soft_log_loss(first - second, probability, lead=lead)
        centre = ((first + second) ** 2).mean()
        with torch.no_grad():
            decided = probability != 0.5
            margin = torch.where(probability > 0.5, first - second, second - first)
            metrics = {
                "preference_loss": Mean.over(preference),
                "margin": Mean.over(margin, decided),
                "accuracy": Mean.over((margin > 0).float(), decided),
                "mean_reward": Mean.over((first + second) / 2),
            }
        return BatchLoss(preference.mean() + self._centering * centre, metrics)


def pair_rewards(reward_model: ScalarModel, batch: Sequence[EncodedPair]) -> tuple[torch.Tensor, torch.Tensor]:
    """Rewards of the first and of the second completions, each (pairs,), from one forward pass."""
    groups = [PromptGroup(pair.prompt, (pair.first, pair.second)) for pair in batch]
    first, second = rewards(reward_model, groups).view(-1, 2).unbind(1)
    return first, second


@torch.no_grad()
def _score_pairs(
    reward_model: ScalarModel, pairs: Sequence[EncodedPair], config: RewardModelConfig, progress: Progress
) -> list[ScoredPair]:
    scored: list[ScoredPair] = []
    ordered = sorted(pairs, key=lambda pair: pair.length)
    for start in range(0, len(ordered), config.batch_size):
        if progress.should_stop():
            raise TrainingStopped(start, len(ordered))
        batch = ordered[start : start + config.batch_size]
        with autocast(reward_model.model.device, config.precision):
            first, second = pair_rewards(reward_model, batch)
        scored += map(ScoredPair, batch, first.tolist(), second.tolist())
    return scored
