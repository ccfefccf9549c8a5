"""Nucleus sampling by Gumbel noise that a completion's seed gives to every token, so that nothing else decides it.

The token with the highest sum of scaled logit and noise is a draw from the softmax (Gumbel-max; top-p: Holtzman et
al., arXiv 1904.09751). Another batch shape sums in another order and moves a float32 logit by some 1e-6. So a choice
also says whether that could have changed it; the caller then asks again with logits that no batch has touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

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


def seed_keys(seeds: Sequence[int], *, device: torch.device) -> torch.Tensor:
    """A key (rows,) for each completion's seed, below 2^63."""
    return _mixed(torch.tensor(seeds, dtype=torch.int64, device=device) + _STRIDE)


def choose(logits: torch.Tensor, keys: torch.Tensor, position: int, *, temperature: float, top_p: float) -> Choice:
    """The token at a position of each row, from logits (rows, vocabulary) and keys (rows,).

    Temperature 0 takes the likeliest.
    """
    if temperature == 0:
        best = logits.topk(2, dim=-1)
        return Choice(best.indices[:, 0], best.values[:, 0] - best.values[:, 1] < _LOGIT_NOISE)
    noise = _Noise(_mixed(keys + position), _LOGIT_NOISE / temperature)
    scaled = logits.float() / temperature
    if top_p < 1:
        return _from_nucleus(scaled, noise, top_p, shortlist=_SHORTLIST)
    everything = torch.arange(logits.shape[-1], device=logits.device).expand_as(logits)
    return noise.winner(scaled.double(), everything, sure=torch.ones_like(everything, dtype=torch.bool))


def _from_nucleus(scaled: torch.Tensor, noise: _Noise, top_p: float, *, shortlist: int) -> Choice:
    """A choice among the likeliest tokens; rows whose nucleus is wider than the shortlist are asked again with more."""
    size = min(shortlist, scaled.shape[-1])
    values, tokens = scaled.topk(size, dim=-1)
    probabilities = (values.double() - scaled.logsumexp(dim=-1, keepdim=True).double()).exp()
    possible, sure = _membership(probabilities, top_p, noise.tolerance)
    choice = noise.winner(values.double().masked_fill(~possible, -torch.inf), tokens, sure=sure)
    cut = possible[:, -1] & (size < scaled.shape[-1])
    if bool(cut.any()):
        wider = _from_nucleus(scaled[cut], noise.of(cut), top_p, shortlist=shortlist * 16)
        choice.tokens[cut], choice.doubtful[cut] = wider.tokens, wider.doubtful
    return choice


def _membership(descending: torch.Tensor, top_p: float, tolerance: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Which of the probabilities (rows, tokens) rounding could put into the nucleus, and which it cannot put out."""
    before = descending.cumsum(dim=-1) - descending
    last_in = descending.masked_fill(before >= top_p + _MASS_NOISE, torch.inf).amin(dim=-1, keepdim=True)
    first_out = descending.masked_fill(before < top_p - _MASS_NOISE, 0.0).amax(dim=-1, keepdim=True)
    return descending >= last_in * (1 - tolerance), descending > first_out * (1 + tolerance)


@dataclass(frozen=True)
class _Noise:
    """One position's noise: keys (rows,), and the difference of two scores that rounding could turn round."""

    keys: torch.Tensor
    tolerance: float

    def of(self, rows: torch.Tensor) -> _Noise:
        return _Noise(self.keys[rows], self.tolerance)

    def winner(self, values: torch.Tensor, tokens: torch.Tensor, *, sure: torch.Tensor) -> Choice:
        """The best of values (rows, tokens) with noise; doubtful where it is close or not surely in the nucleus."""
        uniforms = _uniforms(_mixed(self.keys.unsqueeze(-1) + (tokens + 1) * _STRIDE))
        best = (values - (-uniforms.log()).log()).topk(2, dim=-1)
        first = best.indices[:, :1]
        close = best.values[:, 0] - best.values[:, 1] < self.tolerance
        return Choice(tokens.gather(-1, first).squeeze(-1), close | ~sure.gather(-1, first).squeeze(-1))


_STRIDE = -0x61C8864680B583EB
"""The golden ratio in 64 bits: the step of SplitMix64 (Steele et al., OOPSLA 2014), whose mixer follows."""


def _mixed(keys: torch.Tensor) -> torch.Tensor:
    """SplitMix64's mixer on int64, whose products wrap: 64 bits that look like chance, of any that differ."""
    keys = (keys ^ _shifted(keys, 30)) * -0x40A7B892E31B1A47
    keys = (keys ^ _shifted(keys, 27)) * -0x6B2FB644ECCEEE15
    return keys ^ _shifted(keys, 31)


def _uniforms(keys: torch.Tensor) -> torch.Tensor:
    """Numbers between 0 and 1, neither of them included, in float64."""
    return (_shifted(keys, 12).double() + 0.5) / 2**52


def _shifted(keys: torch.Tensor, bits: int) -> torch.Tensor:
    """Right by so many bits, filled with zeros as for an unsigned number."""
    return (keys >> bits) & ((1 << (64 - bits)) - 1)
