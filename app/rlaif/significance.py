"""Tests of paired outcomes. Answers to one prompt are not independent, so it is the prompt whose sign is exchanged."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

_SMALLEST = 1e-150
"""Chances below it are taken for none: the product of two would be denormal, and a thousand times slower."""


def sign_flip_test(leads: Iterable[int]) -> float:
    """The two-sided p-value of a sum as far from 0, were each prompt's lead as likely the other way round.

    Fisher's exact randomisation test for pairs (The Design of Experiments, 1935, section 21), over all sign patterns
    and not a sample of them. `leads` are whole numbers, such as wins less losses; 1 without any that is not 0.
    """
    leads = list(leads)
    counts = Counter(abs(lead) for lead in leads if lead)
    chances = np.ones(1)
    for size, count in sorted(counts.items()):
        chances = _with_leads(chances, size, count)
    reach = len(chances) // 2
    far = np.abs(np.arange(len(chances)) - reach) >= abs(sum(leads))
    return min(1.0, max(float(chances[far].sum()), _SMALLEST))


def _with_leads(chances: NDArray[np.float64], size: int, count: int) -> NDArray[np.float64]:
    """The chances of a sum, from its least to its greatest, once `count` leads of one size are added with any sign."""
    found = np.zeros(len(chances) + 2 * size * count)
    for ups in range(count + 1):
        ways = math.lgamma(count + 1) - math.lgamma(ups + 1) - math.lgamma(count - ups + 1)
        if (chance := math.exp(ways - count * math.log(2))) >= _SMALLEST:
            found[2 * size * ups : 2 * size * ups + len(chances)] += chance * chances
    return np.where(found < _SMALLEST, 0.0, found)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """The same, adjusted for their number: any below a level is then false with at most that chance.

    Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: (p_values[name], name))):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return adjusted
