"""Figures of comparisons with their intervals. Answers to one prompt are not independent, so prompts are resampled."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from app.rlaif.logistic import Floats
from app.rlaif.measured import Measured

_AT_ONCE = 1_000_000
_TAILS = (0.025, 0.975)


class Resampler:
    """Draws the prompts anew, with replacement, as often as there are samples; the same seed draws the same."""

    def __init__(self, seed: int, samples: int) -> None:
        self._seed = seed
        self._samples = samples

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self._seed)

    @property
    def samples(self) -> int:
        return self._samples

    def mean(self, prompt_ids: Sequence[str], values: Sequence[float] | Floats) -> Measured | None:
        """The mean over comparisons, whose values may be NaN where they say nothing; None where none says anything."""
        array = np.asarray(values, dtype=np.float64)
        said = ~np.isnan(array)
        columns = np.stack([np.where(said, array, 0.0), said.astype(np.float64)], axis=1)
        return self.ratio_of(prompt_ids, columns, lambda sums: _ratio(sums[..., 0], sums[..., 1]), n=int(said.sum()))

    def ratio_of(
        self, prompt_ids: Sequence[str], columns: Floats, statistic: Callable[[Floats], Floats], *, n: int
    ) -> Measured | None:
        """A statistic of (..., k) sums of the comparisons' (n, k) columns; resamples where it is NaN are left out."""
        if n == 0:
            return None
        sums = _by_prompt(prompt_ids, columns)
        value = float(statistic(sums.sum(axis=0)))
        if np.isnan(value):
            return None
        drawn = np.concatenate([statistic(part) for part in self._draw(sums)])
        low, high = np.nanquantile(drawn, _TAILS).tolist()
        return Measured(value=value, low=min(low, value), high=max(high, value), n=n)

    def _draw(self, sums: Floats) -> list[Floats]:
        """(samples, k) sums over drawn prompts, in parts of bounded memory."""
        prompts, rng = len(sums), self.rng()
        rows = max(1, _AT_ONCE // prompts)
        even = np.full(prompts, 1 / prompts)
        return [
            rng.multinomial(prompts, even, size=min(rows, self._samples - start)) @ sums
            for start in range(0, self._samples, rows)
        ]


def _by_prompt(prompt_ids: Sequence[str], columns: Floats) -> Floats:
    """(prompts, k) sums, by prompt id: the comparisons' order changes nothing."""
    _, place = np.unique(np.asarray(prompt_ids), return_inverse=True)
    return np.stack([np.bincount(place, weights=column) for column in columns.T], axis=1)


def _ratio(over: Floats, under: Floats) -> Floats:
    """NaN where nothing is there to divide by."""
    some = np.asarray(under) > 0
    return np.where(some, over / np.where(some, under, 1.0), np.nan)
