"""Instruments fitted to people's labels, and what each would have said of comparisons that it was not fitted to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from app.rlaif.cascade import fit_cascade
from app.rlaif.cross_validation import prompt_folds
from app.rlaif.instruments import Calibrated, Instrument, Then, WeightedPanel, stated
from app.rlaif.labelled import Labelled
from app.rlaif.logistic import Floats
from app.rlaif.panel import LabelledComparison, fit_panel
from app.rlaif.reliability import Temperature, fit_isotonic, fit_temperature

MapName = Literal["temperature", "isotonic"]
FitInstrument = Callable[[Sequence[Labelled]], Instrument]
_SEED = 0  # of folds within folds


@dataclass(frozen=True, slots=True)
class FittedMap:
    """The map of one judge that was chosen, fitted to everything; (n,) `unseen` is what it says of other folds."""

    name: MapName
    instrument: Calibrated
    unseen: Floats


def choose_map(labelled: Sequence[Labelled], judge: str, *, folds: NDArray[np.int64]) -> FittedMap:
    """Temperature or isotonic, by the out-of-fold Brier score; the simpler one where they are equal.

    Comparisons of which the judge has no belief are NaN in `unseen`.
    """
    names: tuple[MapName, MapName] = ("temperature", "isotonic")
    unseen = {name: out_of_fold(fit_map(judge, name), labelled, folds=folds) for name in names}
    outcomes = outcomes_of(labelled)
    scores = {name: float(np.nanmean((unseen[name] - outcomes) ** 2)) for name in names}
    chosen = min(names, key=lambda name: scores[name])
    return FittedMap(chosen, fit_map(judge, chosen)(labelled), unseen[chosen])


def fit_map(judge: str, name: MapName) -> Callable[[Sequence[Labelled]], Calibrated]:
    fit = fit_temperature if name == "temperature" else fit_isotonic

    def fitted(labelled: Sequence[Labelled]) -> Calibrated:
        answered = [each for each in labelled if judge in each.beliefs]
        if not answered:
            return Calibrated(judge, Temperature(0.0))  # nothing is known of it, so it says nothing
        beliefs = np.array([each.beliefs[judge].probability for each in answered])
        return Calibrated(judge, fit(beliefs, outcomes_of(answered)))

    return fitted


def panel_of(judges: Sequence[str]) -> Callable[[Sequence[Labelled]], WeightedPanel]:
    """Weights by logistic stacking: what `fit_panel` gives for the judges' beliefs."""

    def fitted(labelled: Sequence[Labelled]) -> WeightedPanel:
        rows = [LabelledComparison(each.prompt_id, stated(each.beliefs), each.outcome) for each in labelled]
        return WeightedPanel(fit_panel(rows, judges=judges))

    return fitted


def cascade_of(judges: Sequence[tuple[str, MapName]], *, maximum_risk: float, then: Then, folds: int) -> FitInstrument:
    """Thresholds are set on what maps fitted to the other ones of so many folds say."""

    def fitted(labelled: Sequence[Labelled]) -> Instrument:
        prompts = [each.prompt_id for each in labelled]
        inner = prompt_folds(prompts, min(folds, len(set(prompts))), rng=np.random.default_rng(_SEED))
        fits = [fit_map(judge, name) for judge, name in judges]
        unseen = [out_of_fold(fit, labelled, folds=inner) for fit in fits]
        maps = [fit(labelled) for fit in fits]
        return fit_cascade(labelled, maps, unseen, maximum_risk=maximum_risk, then=then)[0]

    return fitted


def out_of_fold(fit: FitInstrument, labelled: Sequence[Labelled], *, folds: NDArray[np.int64]) -> Floats:
    """(n,) P(first is better) by instruments fitted to the other folds alone; NaN where the instrument has none."""
    predicted = np.full(len(labelled), np.nan)
    for fold in np.unique(folds).tolist():
        instrument = fit([each for each, its in zip(labelled, folds, strict=True) if its != fold])
        for place in np.flatnonzero(folds == fold).tolist():
            probability = instrument.probability(labelled[place].beliefs)
            predicted[place] = np.nan if probability is None else probability
    return predicted


def outcomes_of(labelled: Sequence[Labelled]) -> Floats:
    return np.array([each.outcome for each in labelled])
