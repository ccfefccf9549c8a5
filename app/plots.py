"""Charts as inline SVG: no script, nothing loaded, text stays text.

Labels come from clients: nothing in them is read as mathematics or markup.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from threading import Lock
from typing import TYPE_CHECKING, Any

from app.rlaif.charts import Bars, Chart, Curves, Histograms, Intervals

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

INK, SOFT, OURS, THEIRS = "#1f2933", "#9aa5b1", "#2563a8", "#c4722e"
_COLOURS = (OURS, THEIRS, "#3d8b5f", "#8a5aa8")
_STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "report",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}
_ONE_AT_A_TIME = Lock()  # matplotlib's style is global to the process
_WIDTH = 7.2
_LONGEST_LABEL = 48


def as_svg(chart: Chart) -> str:
    """The chart as one <svg> element; equal charts give equal text."""
    with _figure(*_size(chart)) as figure:
        match chart:
            case Intervals():
                _intervals(figure.add_subplot(), chart)
            case Curves():
                _curves(figure, chart)
            case Histograms():
                _histograms(figure, chart)
            case Bars():
                _bars(figure.add_subplot(), chart)
        return _saved(figure)


def _size(chart: Chart) -> tuple[float, float]:
    """Width and height in inches."""
    match chart:
        case Intervals(rows):
            return _WIDTH, 0.9 + 0.32 * len(rows)
        case Curves(panels):
            return _WIDTH, 2.2 * ((len(panels) + 1) // 2)
        case Histograms():
            return _WIDTH, 2.4
        case Bars(values):
            return _WIDTH, 0.8 + 0.3 * len(values)


@contextmanager
def _figure(width: float, height: float) -> Iterator[Figure]:
    """A figure of so many inches, in our style. matplotlib is imported by the first report page, not by the API."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with _ONE_AT_A_TIME, mpl.rc_context(_STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def _saved(figure: Figure) -> str:
    whole = StringIO()
    figure.savefig(whole, format="svg", metadata={"Date": None, "Creator": None})
    text = whole.getvalue()
    return text[text.index("<svg") :]


def _intervals(axes: Axes, chart: Intervals) -> None:
    axes.axvline(chart.reference, color=SOFT, linestyle="--", linewidth=1)
    places = range(len(chart.rows))[::-1]
    for place, row in zip(places, chart.rows, strict=True):
        axes.plot([row.low, row.high], [place, place], color=OURS, linewidth=2)
        axes.plot([row.value], [place], "o", color=OURS, markersize=5)
    axes.set_yticks(places, [_short(row.label) for row in chart.rows])
    axes.set_ylim(-0.6, len(chart.rows) - 0.4)
    axes.set_xlabel(chart.label)


def _curves(figure: Figure, chart: Curves) -> None:
    rows = (len(chart.panels) + 1) // 2
    for index, panel in enumerate(chart.panels, start=1):
        axes = figure.add_subplot(rows, 2, index)
        for place, (name, curve) in enumerate(panel.curves.items()):
            axes.plot(curve.places, curve.values, color=_colour(place), linewidth=1.3, label=_short(name))
        axes.set_title(_short(panel.title), fontsize=9, loc="left", color=INK)
        axes.set_xlabel(chart.label)
        if len(panel.curves) > 1:
            axes.legend(frameon=False, fontsize=8)


def _histograms(figure: Figure, chart: Histograms) -> None:
    for index, (title, named) in enumerate(chart.panels.items(), start=1):
        axes = figure.add_subplot(1, max(len(chart.panels), 2), index)
        for place, (name, steps) in enumerate(named.items()):
            axes.stairs(steps.shares, steps.edges, color=_colour(place), fill=True, alpha=0.3)
            axes.stairs(steps.shares, steps.edges, color=_colour(place), linewidth=1.3, label=_short(name))
        axes.set_title(_short(title), fontsize=9, loc="left", color=INK)
        axes.set_ylabel("share")
        axes.legend(frameon=False, fontsize=8)


def _bars(axes: Axes, chart: Bars) -> None:
    places = range(len(chart.values))[::-1]
    axes.barh(places, list(chart.values.values()), color=OURS, height=0.6)
    axes.set_yticks(places, [_short(name) for name in chart.values])
    axes.set_xlabel(chart.label)


def _colour(place: int) -> str:
    return _COLOURS[place % len(_COLOURS)]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_LABEL else f"{line[: _LONGEST_LABEL - 1]}…"
