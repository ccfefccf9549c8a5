"""Nucleus sampling from uniforms drawn ahead, so that a row's choices depend on its own seed and nothing else.

Inverse CDF in vocabulary order and in float64: a difference of 1e-7 in a logit, which another batch shape can cause,
then changes a choice with a probability of the same size (top-p: Holtzman et al., arXiv 1904.09751).
"""

from __future__ import annotations

import numpy as np
import torch

_SHORTLIST = 64


def seeded_uniforms(seed: int, count: int) -> torch.Tensor:
    """`count` numbers in [0, 1) for one completion: Philox in float64, the same on every machine and device."""
    return torch.from_numpy(np.random.Generator(np.random.Philox(seed)).random(count))


def choose(logits: torch.Tensor, uniforms: torch.Tensor, *, temperature: float, top_p: float) -> torch.Tensor:
    """One token id a row from logits (rows, vocabulary) and uniforms (rows,); temperature 0 takes the likeliest."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    probabilities = torch.softmax(logits.double() / temperature, dim=-1)
    if top_p < 1:
        threshold = _nucleus_threshold(probabilities, top_p)
        probabilities = probabilities.masked_fill(probabilities < threshold, 0.0)
    cumulative = probabilities.cumsum(dim=-1)
    target = uniforms.unsqueeze(-1) * cumulative[:, -1:]
    return torch.searchsorted(cumulative, target, right=True).squeeze(-1).clamp_(max=logits.shape[-1] - 1)


def _nucleus_threshold(probabilities: torch.Tensor, top_p: float) -> torch.Tensor:
    """The smallest probability (rows, 1) that belongs to the nucleus; sorts all of a row only where it has to."""
    shortlist = probabilities.topk(min(_SHORTLIST, probabilities.shape[-1]), dim=-1).values
    threshold = _last_before(shortlist, top_p)
    wide = shortlist.sum(dim=-1) < top_p
    if bool(wide.any()):
        threshold[wide] = _last_before(probabilities[wide].sort(dim=-1, descending=True).values, top_p)
    return threshold


def _last_before(descending: torch.Tensor, top_p: float) -> torch.Tensor:
    """The last value (rows, 1) in front of which less than `top_p` is gathered."""
    gathered = descending.cumsum(dim=-1) - descending
    return descending.gather(-1, (gathered < top_p).sum(dim=-1, keepdim=True) - 1)
