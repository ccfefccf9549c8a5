"""What GRPO, RLOO, PPO and online DPO make of a step's rollouts, and what they minimise.

Each takes its advantages once a step and its loss by parts of that step, so that rollouts are learned from in batches
of any size: a part's loss is its share of the whole step's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import torch

from workers.training.advantages import generalised_advantages, group_advantages, leave_one_out, whitened
from workers.training.experience import Experience
from workers.training.figures import Mean
from workers.training.pairs import soft_log_loss


@dataclass(frozen=True)
class Part:
    """Rows of an experience as the policy (and the critic) sees them now: (rows, longest), with gradients."""

    rows: slice
    policy: torch.Tensor
    values: torch.Tensor


@dataclass(frozen=True)
class PartLoss:
    """A part's share of the step's loss, to be summed over its parts; and figures."""

    loss: torch.Tensor
    figures: Mapping[str, Mean]


class Objective(Protocol):
    """`learns_values`: it needs a critic."""

    @property
    def learns_values(self) -> bool: ...

    def prepare(self, experience: Experience, *, beta: float) -> Prepared: ...


class Prepared(Protocol):
    """One step's fixed numbers."""

    @property
    def learns(self) -> bool:
        """Whether the step has anything to learn from."""
        ...

    def loss(self, part: Part) -> PartLoss: ...


@dataclass(frozen=True)
class GRPO:
    """Group-relative advantages, clipped ratios by token, and the divergence in the loss (arXiv 2402.03300).

    The mean is over all tokens of a step (DAPO, arXiv 2503.14476), so that long answers are not let off lightly.
    """

    clip: float
    scale_rewards: bool
    learns_values: bool = False

    def prepare(self, experience: Experience, *, beta: float) -> Prepared:
        advantages = group_advantages(experience.rewards, scale=self.scale_rewards).flatten()
        experience, advantages = _known(experience, advantages)
        return _PerToken(experience, advantages[:, None].expand_as(experience.policy), self.clip, beta)


@dataclass(frozen=True)
class RLOO:
    """Leave-one-out advantages of rewards less the divergence, over whole sequences (arXiv 2402.14740)."""

    clip: float
    learns_values: bool = False

    def prepare(self, experience: Experience, *, beta: float) -> Prepared:
        rewards = experience.rewards - beta * experience.kl.view_as(experience.rewards)
        return _PerSequence(*_known(experience, leave_one_out(rewards).flatten()), self.clip)


@dataclass(frozen=True)
class PPO:
    """Clipped ratios by token on advantages that a critic helps to place in time (arXiv 1707.06347, 2203.02155).

    The reward is given on a rollout's last token, which is its stop token where it has one; every token pays for its
    divergence from the reference.
    """

    clip: float
    clip_values: float
    value_weight: float
    gamma: float
    decay: float
    learns_values: bool = True

    def prepare(self, experience: Experience, *, beta: float) -> Prepared:
        experience, scores = _known(experience, experience.rewards.flatten())
        inside, last = experience.inside, experience.lengths - 1
        rewards = -beta * (experience.policy - experience.reference) * inside
        rewards[torch.arange(len(last)), last] += scores
        gained = generalised_advantages(
            rewards, experience.values, experience.lengths, gamma=self.gamma, decay=self.decay
        )
        advantages = whitened(gained, experience.learned)
        tokens = _PerToken(experience, advantages, self.clip, beta=0.0)
        return _WithValues(tokens, (gained + experience.values) * inside, self)


@dataclass(frozen=True)
class OnlineDPO:
    """DPO on the best and the worst of each prompt's rollouts, labelled by their rewards (OAIF, arXiv 2402.04792).

    The soft label is sigmoid(scale * (reward of the best - reward of the worst)).
    """

    scale: float
    learns_values: bool = False

    def prepare(self, experience: Experience, *, beta: float) -> Prepared:
        rewards = torch.where(experience.kept.view_as(experience.rewards), experience.rewards, torch.nan)
        known = (~rewards.isnan()).sum(dim=1) > 1
        best, worst = rewards.nan_to_num(-torch.inf).argmax(dim=1), rewards.nan_to_num(torch.inf).argmin(dim=1)
        difference = (rewards.gather(1, best[:, None]) - rewards.gather(1, worst[:, None])).squeeze(1)
        probability = torch.sigmoid(self.scale * difference.nan_to_num(0.0))
        return _Pairs(experience, best, worst, probability, known & (best != worst), beta)


def _known(experience: Experience, figures: torch.Tensor) -> tuple[Experience, torch.Tensor]:
    """Without the rollouts whose figure (rows,) is missing, and the figures with 0 in their place."""
    kept = experience.kept & ~figures.isnan()
    return replace(experience, kept=kept), torch.where(kept, figures, 0.0)


@dataclass(frozen=True)
class _PerToken:
    experience: Experience
    advantages: torch.Tensor  # (rows, longest)
    clip: float
    beta: float

    @property
    def learns(self) -> bool:
        return bool(self.experience.kept.any())

    def loss(self, part: Part) -> PartLoss:
        learned = self.experience.learned
        tokens = learned.sum().clamp(min=1)
        active, width = learned[part.rows], part.policy.shape[1]
        active = active[:, :width]
        policy, advantages = part.policy, self.advantages[part.rows, :width]
        ratio = torch.exp(policy - self.experience.policy[part.rows, :width])
        clipped = ratio.clamp(1 - self.clip, 1 + self.clip)
        losses = -torch.minimum(ratio * advantages, clipped * advantages)
        if self.beta:
            log_ratio = self.experience.reference[part.rows, :width] - policy
            losses = losses + self.beta * (torch.exp(log_ratio) - log_ratio - 1)  # k3 of joschu.net/blog/kl-approx
        outside = ((ratio - 1).abs() > self.clip).float()
        return PartLoss((losses * active).sum() / tokens, {"clipped": Mean.over(outside, active)})


@dataclass(frozen=True)
class _PerSequence:
    experience: Experience
    advantages: torch.Tensor  # (rows,)
    clip: float

    @property
    def learns(self) -> bool:
        return bool(self.experience.kept.any())

    def loss(self, part: Part) -> PartLoss:
        rows = self.experience.kept.sum().clamp(min=1)
        kept, advantages = self.experience.kept[part.rows], self.advantages[part.rows]
        ratio = torch.exp((part.policy - self.experience.policy[part.rows, : part.policy.shape[1]]).sum(dim=1))
        clipped = ratio.clamp(1 - self.clip, 1 + self.clip)
        losses = -torch.minimum(ratio * advantages, clipped * advantages)
        outside = ((ratio - 1).abs() > self.clip).float()
        return PartLoss((losses * kept).sum() / rows, {"clipped": Mean.over(outside, kept)})


@dataclass(frozen=True)
class _WithValues:
    tokens: _PerToken
    returns: torch.Tensor  # (rows, longest)
    settings: PPO

    @property
    def learns(self) -> bool:
        return self.tokens.learns

    def loss(self, part: Part) -> PartLoss:
        """The critic is held near what it said when the rollouts were drawn, as in PPO's reference code."""
        experience, width = self.tokens.experience, part.values.shape[1]
        learned = experience.learned
        active, before = learned[part.rows, :width], experience.values[part.rows, :width]
        returns, near = self.returns[part.rows, :width], self.settings.clip_values
        held = before + (part.values - before).clamp(-near, near)
        errors = torch.maximum((part.values - returns) ** 2, (held - returns) ** 2) / 2
        of_policy = self.tokens.loss(part)
        of_values = (errors * active).sum() / learned.sum().clamp(min=1)
        figures = {"value_loss": Mean.over(errors.detach(), active)}
        return PartLoss(of_policy.loss + self.settings.value_weight * of_values, {**of_policy.figures, **figures})


@dataclass(frozen=True)
class _Pairs:
    experience: Experience
    best: torch.Tensor  # (groups,)
    worst: torch.Tensor
    probability: torch.Tensor
    known: torch.Tensor
    beta: float

    @property
    def learns(self) -> bool:
        return bool(self.known.any())

    def loss(self, part: Part) -> PartLoss:
        completions = self.experience.rewards.shape[1]
        groups = slice(part.rows.start // completions, part.rows.stop // completions)
        reference = self.experience.reference[part.rows].sum(dim=1)
        policy = part.policy.sum(dim=1).view(-1, completions)
        rewards = self.beta * (policy - reference.view(-1, completions))
        best, worst = self.best[groups, None], self.worst[groups, None]
        chosen, rejected = rewards.gather(1, best).squeeze(1), rewards.gather(1, worst).squeeze(1)
        known = self.known[groups]
        losses = soft_log_loss(chosen - rejected, self.probability[groups]) * known
        margin = (chosen - rejected).detach()
        figures = {
            "chosen_logp": Mean.over(policy.detach().gather(1, best).squeeze(1), known),
            "rejected_logp": Mean.over(policy.detach().gather(1, worst).squeeze(1), known),
            "margin": Mean.over(margin, known),
            "accuracy": Mean.over((margin > 0).float(), known),
        }
        return PartLoss(losses.sum() / self.known.sum().clamp(min=1), figures)
