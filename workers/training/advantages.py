"""How much better each rollout, or each token of it, was than expected. NaN stands for a missing reward."""

from __future__ import annotations

import torch


def group_advantages(rewards: torch.Tensor, *, scale: bool) -> torch.Tensor:
    """Of rewards (groups, completions): less the group's mean, over its standard deviation where `scale` says so.

    GRPO (Shao et al., arXiv 2402.03300); unscaled, as Dr. GRPO has it (arXiv 2503.20783), hard and easy prompts weigh
    as their rewards differ. NaN where the reward is missing, or the group has no other.
    """
    known = ~rewards.isnan()
    count = known.sum(dim=1, keepdim=True)
    mean = rewards.nanmean(dim=1, keepdim=True)
    centred = torch.where(known & (count > 1), rewards - mean, torch.nan)
    if not scale:
        return centred
    variance = torch.where(known, (rewards - mean) ** 2, 0.0).sum(dim=1, keepdim=True) / (count - 1).clamp(min=1)
    return centred / (variance.sqrt() + 1e-4)


def leave_one_out(rewards: torch.Tensor) -> torch.Tensor:
    """Of rewards (groups, completions): less the mean of the group's others (RLOO, Ahmadian et al., arXiv 2402.14740).

    NaN where the reward is missing, or the group has no other.
    """
    known = ~rewards.isnan()
    count = known.sum(dim=1, keepdim=True)
    total = torch.where(known, rewards, 0.0).sum(dim=1, keepdim=True)
    others = (total - rewards) / (count - 1)
    return torch.where(known & (count > 1), rewards - others, torch.nan)


def generalised_advantages(
    rewards: torch.Tensor, values: torch.Tensor, lengths: torch.Tensor, *, gamma: float, decay: float
) -> torch.Tensor:
    """GAE (Schulman et al., arXiv 1506.02438) of (rows, longest) rewards and values, padded on the right.

    delta_t = r_t + gamma V_{t+1} - V_t, A_t = delta_t + gamma * decay * A_{t+1}; beyond a row's end V and A are 0.
    """
    inside = torch.arange(rewards.shape[1], device=rewards.device) < lengths[:, None]
    values = values * inside
    following = torch.cat([values[:, 1:], values.new_zeros(len(values), 1)], dim=1)
    delta = (rewards + gamma * following - values) * inside
    advantages = torch.zeros_like(delta)
    carried = delta.new_zeros(len(delta))
    for place in reversed(range(delta.shape[1])):
        carried = delta[:, place] + gamma * decay * carried * inside[:, place]
        advantages[:, place] = carried
    return advantages * inside


def whitened(values: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Values with mean 0 and variance 1 over `where`, and 0 elsewhere."""
    count = where.sum().clamp(min=1)
    mean = (values * where).sum() / count
    variance = (((values - mean) * where) ** 2).sum() / count
    return (values - mean) / (variance.sqrt() + 1e-8) * where
