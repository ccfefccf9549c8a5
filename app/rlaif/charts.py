"""What a chart shows, as data. How it is drawn is a renderer's business; a renderer without pictures leaves it out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Numbers = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its interval."""

    label: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Intervals:
    """A forest plot: one line each, and a rule at `reference`."""

    rows: tuple[Interval, ...]
    reference: float
    label: str


@dataclass(frozen=True, slots=True)
class Curve:
    """`values` at `places`, as many of each."""

    places: Numbers
    values: Numbers


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves that share their axes, by name."""

    title: str
    curves: Mapping[str, Curve]


@dataclass(frozen=True, slots=True)
class Curves:
    """Small multiples; `label` names the x of all of them."""

    panels: tuple[Panel, ...]
    label: str


@dataclass(frozen=True, slots=True)
class Steps:
    """Shares of the bins between `edges`, of which there is one more."""

    edges: Numbers
    shares: Numbers


@dataclass(frozen=True, slots=True)
class Histograms:
    """Distributions over common bins: by title, then by name."""

    panels: Mapping[str, Mapping[str, Steps]]


@dataclass(frozen=True, slots=True)
class Bars:
    """One bar each, the first on top."""

    values: Mapping[str, float]
    label: str


Chart = Intervals | Curves | Histograms | Bars
