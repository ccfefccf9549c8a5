"""Nucleus sampling from uniforms drawn ahead, so that a row's choices depend on its own seed and nothing else.

Another batch shape sums in another order and moves a float32 logit by some 1e-6. So a choice also says whether that
could have changed it; the caller then asks again with logits that no batch has touched. The CDF runs in vocabulary
order, where near-equal tokens cannot swap places (top-p: Holtzman et al., arXiv 1904.09751).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import pad

_SHORTLIST = 64
_LOGIT_NOISE = 4e-5
"""Ten times the largest difference seen between a row alone and in a batch (logits to 11, 64 padded rows)."""
_MASS_NOISE = 4e-6
"""The same for a cumulative probability."""


@dataclass(frozen=True)
class Choice:
    """Token ids (rows,), and which of them rounding could have decided (rows,)."""

    tokens: torch.Tensor
    doubtful: torch.Tensor


def seeded_uniforms(seed: int, count: int) -> torch.Tensor:
    """`count` numbers in [0, 1) for one completion: Philox in float64, the same on every machine and device."""
    return torch.from_numpy(np.random.Generator(np.random.Philox(seed)).random(count))


def choose(logits: torch.Tensor, uniforms: torch.Tensor, *, temperature: float, top_p: float) -> Choice:
    """A token for each row of logits (rows, vocabulary) from uniforms (rows,); temperature 0 takes the likeliest."""
    if temperature == 0:
        best = logits.topk(2, dim=-1)
        return Choice(best.indices[:, 0], best.values[:, 0] - best.values[:, 1] < _LOGIT_NOISE)
    probabilities = torch.softmax(logits.double() / temperature, dim=-1)
    noise = torch.full_like(uniforms, _MASS_NOISE)
    if top_p < 1:
        probabilities, unsettled = _nucleus(probabilities, top_p)
        noise += unsettled
    cumulative = probabilities.cumsum(dim=-1)
    target = uniforms * cumulative[:, -1]
    tokens = torch.searchsorted(cumulative, target.unsqueeze(-1), right=True).clamp_(max=logits.shape[-1] - 1)
    upper = cumulative.gather(-1, tokens).squeeze(-1)
    lower = upper - probabilities.gather(-1, tokens).squeeze(-1)
    return Choice(tokens.squeeze(-1), torch.minimum(target - lower, upper - target) < noise)


def _nucleus(probabilities: torch.Tensor, top_p: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities with zeros outside the nucleus, and the mass (rows,) whose membership rounding decided."""
    border = _border(probabilities.topk(min(_SHORTLIST, probabilities.shape[-1]), dim=-1).values, top_p)
    wide = border[:, 2] < 0
    if bool(wide.any()):  # the shortlist ends within the nucleus: sort all of those rows
        border[wide] = _border(pad(probabilities[wide].sort(dim=-1, descending=True).values, (0, 1)), top_p)
    last, following, inside = border.unbind(dim=-1)
    near = torch.minimum((inside - top_p).abs(), (inside - last - top_p).abs()) < _MASS_NOISE
    tied = last - following < _LOGIT_NOISE * last
    kept = probabilities.masked_fill(probabilities < last.unsqueeze(-1), 0.0)
    return kept, torch.where(near | tied, 2 * last, 0.0)


def _border(descending: torch.Tensor, top_p: float) -> torch.Tensor:
    """Of each row (rows, 3): the last probability in the nucleus, the first outside it, and the nucleus's mass.

    The mass is -1 where the given values do not reach beyond the nucleus.
    """
    gathered, end = descending.cumsum(dim=-1), descending.shape[-1] - 1
    last = (gathered < top_p).sum(dim=-1, keepdim=True)
    following = (last + 1).clamp(max=end)
    inside = gathered.gather(-1, last.clamp(max=end)).masked_fill(last >= end, -1.0)
    return torch.cat([descending.gather(-1, last.clamp(max=end)), descending.gather(-1, following), inside], dim=-1)
