"""Probabilities for comparisons that the fit has not seen. Folds hold whole prompts: what two comparisons of one
prompt share must not leak from one side to the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from app.rlaif.logistic import Floats

Predict = Callable[[Floats], Floats]
Fit = Callable[[Floats, Floats], Predict]
"""From features (n, ...) and outcomes (n,) to what predicts P(first is better) from features."""


class TooFewPrompts(ValueError):
    """Raised when there are fewer prompts than folds."""


def prompt_folds(prompt_ids: Sequence[str], count: int, *, rng: np.random.Generator) -> NDArray[np.int64]:
    """The fold, 0 to count - 1, of each comparison, all of a prompt in one. Raises TooFewPrompts.

    Which fold a prompt is in depends on the prompts and `rng`, not on the order of the comparisons.
    """
    prompts = sorted(set(prompt_ids))
    if len(prompts) < count:
        raise TooFewPrompts(f"{count} folds need as many prompts, there are {len(prompts)}: label more comparisons")
    fold = dict(zip(prompts, (rng.permutation(len(prompts)) % count).tolist(), strict=True))
    return np.array([fold[prompt] for prompt in prompt_ids])


def out_of_fold(fit: Fit, features: Floats, outcomes: Floats, *, folds: NDArray[np.int64]) -> Floats:
    """(n,) probabilities, each predicted by a fit to the other folds alone."""
    predicted = np.empty(len(outcomes))
    for fold in np.unique(folds):
        inside = folds == fold
        predicted[inside] = fit(features[~inside], outcomes[~inside])(features[inside])
    return predicted
