"""Tests of paired outcomes. Answers to one prompt are not independent, so it is the prompt whose sign is exchanged."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray


def sign_flip_test(leads: Iterable[int]) -> float:
    """The two-sided p-value of a sum as far from 0, were each prompt's lead as likely the other way round.

    Fisher's exact randomisation test for pairs (The Design of Experiments, 1935, section 21), over all sign patterns
    and not a sample of them. `leads` are whole numbers, such as wins less losses; 1 without any that is not 0.
    """
    leads = list(leads)
    counts = Counter(abs(lead) for lead in leads if lead)
    chances = np.ones(1)
    for size, count in sorted(counts.items()):
        chances = np.convolve(chances, _spread(size, count))
    reach = len(chances) // 2
    far = np.abs(np.arange(len(chances)) - reach) >= abs(sum(leads))
    return min(1.0, float(chances[far].sum()))


def _spread(size: int, count: int) -> NDArray[np.float64]:
    """The chances of the sum of `count` leads of one size, from -size * count to size * count."""
    ways = np.array(
        [math.lgamma(count + 1) - math.lgamma(k + 1) - math.lgamma(count - k + 1) for k in range(count + 1)]
    )
    chances = np.zeros(2 * size * count + 1)
    chances[:: 2 * size] = np.exp(ways - count * math.log(2))
    return chances


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """The same, adjusted for their number: any below a level is then false with at most that chance.

    Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: (p_values[name], name))):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return adjusted
