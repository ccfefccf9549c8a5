"""What the pairs to train on are like, told before any of them is trained on.

It reads a stream of any length once, in a few dozen bytes a pair: texts are kept as digests, but for a sample.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

import numpy as np
from numpy.typing import NDArray

from app.rlaif.pair_figures import CohortBalance, Duplicates, LengthSkew, PairQuality, SurfaceFigures
from app.rlaif.pair_warnings import warnings
from app.rlaif.preferences import TIE_MARGIN, DropReason
from app.rlaif.surface import SurfaceFit, SurfacePair, fit_surface

MARGIN_BINS = 10
SAMPLED = 2000
SAMPLED_CHARACTERS = 20_000

Digests = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class BelievedPair:
    """A pair of the train split and what is believed of it; with a `drop_reason` it is not trained on."""

    prompt_id: str
    prompt: str
    cohort: str
    first: str
    second: str
    probability: float | None
    consistent: bool | None
    drop_reason: DropReason | None

    @property
    def kept(self) -> bool:
        return self.drop_reason is None and self.probability is not None


def assess(pairs: Iterable[BelievedPair], *, seed: int) -> PairQuality:
    """The figures and what they warn of. `seed` decides which pairs the surface is measured on."""
    seen = _Seen(Random(seed))
    for pair in pairs:
        seen.add(pair)
    figures = seen.figures(np.random.default_rng(seed))
    return figures.model_copy(update={"warnings": list(warnings(figures))})


@dataclass(slots=True)
class _Seen:
    """What is remembered of the stream."""

    random: Random
    dropped: Counter[DropReason] = field(default_factory=Counter)
    cohorts: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    margins: list[int] = field(default_factory=lambda: [0] * MARGIN_BINS)
    orders: Counter[bool] = field(default_factory=Counter)
    prompts: array[int] = field(default_factory=lambda: array("Q"))
    prompt_ids: array[int] = field(default_factory=lambda: array("Q"))
    firsts: array[int] = field(default_factory=lambda: array("Q"))
    seconds: array[int] = field(default_factory=lambda: array("Q"))
    leads: array[int] = field(default_factory=lambda: array("q"))
    sample: list[SurfacePair] = field(default_factory=list)

    def add(self, pair: BelievedPair) -> None:
        self._remember_texts(pair)
        cohort = self.cohorts[pair.cohort]
        cohort["pairs"] += 1
        if pair.consistent is not None:
            self.orders[pair.consistent] += 1
        if pair.drop_reason is not None:
            self.dropped[pair.drop_reason] += 1
        if pair.kept and pair.probability is not None:
            cohort["kept"] += 1
            self._add_kept(pair, pair.probability, cohort)

    def _remember_texts(self, pair: BelievedPair) -> None:
        self.prompts.append(_digest(pair.prompt))
        self.prompt_ids.append(_digest(pair.prompt_id))
        self.firsts.append(_digest(pair.first))
        self.seconds.append(_digest(pair.second))

    def _add_kept(self, pair: BelievedPair, probability: float, cohort: Counter[str]) -> None:
        margin = abs(2 * probability - 1)
        self.margins[min(int(margin * MARGIN_BINS), MARGIN_BINS - 1)] += 1
        if margin < TIE_MARGIN:
            cohort["ties"] += 1
            return
        first = probability > 0.5
        cohort["first" if first else "second"] += 1
        lead = len(pair.first) - len(pair.second)
        self.leads.append(lead if first else -lead)
        self._draw(pair, float(first))

    def _draw(self, pair: BelievedPair, outcome: float) -> None:
        """Algorithm R (Vitter, 1985): every pair so far is in the sample with the same probability."""
        place = len(self.leads) - 1
        if place >= SAMPLED:
            place = self.random.randrange(len(self.leads))
        if place < SAMPLED:
            first, second = (text[:SAMPLED_CHARACTERS] for text in (pair.first, pair.second))
            self.sample[place : place + 1] = [SurfacePair(pair.prompt_id, first, second, outcome)]

    def figures(self, rng: np.random.Generator) -> PairQuality:
        """Everything but the warnings."""
        kept = sum(cohort["kept"] for cohort in self.cohorts.values())
        ties = sum(cohort["ties"] for cohort in self.cohorts.values())
        surface = fit_surface(self.sample, rng=rng)
        return PairQuality(
            pairs=len(self.prompts),
            kept=kept,
            dropped=dict(sorted(self.dropped.items())),
            duplicates=self._duplicates(),
            inconsistent=self.orders[False] / self.orders.total() if self.orders else None,
            ties=ties / kept if kept else None,
            margins=self.margins,
            length=_length_skew(np.array(self.leads, dtype=np.int64)),
            surface=None if surface is None else _surface_figures(surface),
            cohorts={name: _balance(counts) for name, counts in sorted(self.cohorts.items())},
            warnings=[],
        )

    def _duplicates(self) -> Duplicates:
        prompts, ids, firsts, seconds = (
            np.array(digests, dtype=np.uint64) for digests in (self.prompts, self.prompt_ids, self.firsts, self.seconds)
        )
        pairs = _distinct(prompts, np.minimum(firsts, seconds), np.maximum(firsts, seconds))
        answers = _distinct(np.concatenate([firsts, seconds]), np.concatenate([prompts, prompts]))
        _, answered = np.unique(answers[0], return_counts=True)
        return Duplicates(
            pairs=len(prompts) - pairs.shape[1],
            prompts=_distinct(prompts, ids).shape[1] - len(np.unique(prompts)),
            completions=int((answered > 1).sum()),
        )


def _distinct(*digests: Digests) -> Digests:
    """The distinct columns."""
    return np.asarray(np.unique(np.stack(digests), axis=1))


def _length_skew(leads: NDArray[np.int64]) -> LengthSkew | None:
    """`leads` are preferred less other; every pair counts from both sides, which makes 0.5 of no relation."""
    if not len(leads):
        return None
    differing = leads[leads != 0]
    other = np.sort(-leads)
    below, up_to = np.searchsorted(other, leads, "left"), np.searchsorted(other, leads, "right")
    return LengthSkew(
        preferred_longer=float((differing > 0).mean()) if len(differing) else 0.5,
        mean_difference=float(leads.mean()),
        auc=float((below + up_to).mean() / (2 * len(leads))),
    )


def _surface_figures(fit: SurfaceFit) -> SurfaceFigures:
    return SurfaceFigures(
        sampled_pairs=fit.pairs, accuracy=fit.accuracy, separable=fit.separable, strongest=list(fit.strongest)
    )


def _balance(counts: Counter[str]) -> CohortBalance:
    return CohortBalance(**{name: counts[name] for name in CohortBalance.model_fields})


def _digest(text: str) -> int:
    """64 bits: among a million texts the chance of one collision is 3 in 100 million."""
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
