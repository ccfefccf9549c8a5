"""The report's page: the same blocks as its text, plots beside them, and nobody's text poses as a part of it."""

from __future__ import annotations

import json
import re
import shlex
from html.parser import HTMLParser
from typing import Any

import pytest

from app.plots import as_svg
from app.report_page import as_html
from app.rlaif.charts import Bars, Chart, Curve, Curves, Histograms, Interval, Intervals, Panel, Steps
from tests.unit.test_report import calibration, evaluation, judge, reported, win_rate

CHARTS: list[Chart] = [
    Intervals((Interval("all", 0.7, 0.6, 0.8),), 0.5, "win rate"),
    Curves((Panel("loss", {"loss": Curve((1.0, 2.0), (0.7, 0.6))}),), "step"),
    Histograms({"tokens": {"base": Steps((0.0, 1.0, 2.0), (0.5, 0.5)), "policy": Steps((0.0, 1.0, 2.0), (0.0, 1.0))}}),
    Bars({"sample": 1.5}, "seconds"),
]
HOSTILE = "</svg><script>alert(1)</script> $\\frac{1}{0}$ & <b>"


class _Page(HTMLParser):
    """Which elements there are, and what they would load."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [
            value or "" for name, value in attrs if name in ("src", "href") and not (value or "").startswith("#")
        ]


def test_shows_plots_tables_and_examples() -> None:
    example = {"prompt_id": "p", "cohort": "c", "prompt": [], "base": "before", "policy": "after", "probability": 0.9}
    page = as_html(reported(evaluation=evaluation(examples=[example])))
    assert _Page(page).tags.count("svg") == 3  # win rates, lengths, training
    assert all(text in page for text in ("before", "after", "0.780", "win rate over the base model", "run_1"))


def test_a_calibrated_judge_is_drawn_against_the_diagonal() -> None:
    calibrated = {**judge(), "calibration": calibration(accuracy=0.81, longer=0.55)}
    assert "judge against people: accuracy" in as_html(reported(judge=calibrated))
    assert "judge against people: accuracy" not in as_html(reported())


def test_an_online_policy_is_drawn_by_the_kl_that_it_spent() -> None:
    figures = {"kl": [0.0, None, 2.0], "reward": [0.1, 0.2, 0.4]}
    online = {"round": 0, "stage": "policy", "candidate": 0, "steps": [1, 2, 3], "figures": figures}
    assert "KL from the start model" in as_html(reported(curves=[online]))
    alone = {**online, "figures": {"reward": [0.1, 0.2, 0.4]}}
    assert "KL from the start model" not in as_html(reported(curves=[alone]))


def test_loads_nothing_and_runs_nothing() -> None:
    found = _Page(as_html(reported()))
    assert "script" not in found.tags
    assert found.loads == []


@pytest.mark.parametrize("chart", CHARTS, ids=lambda chart: type(chart).__name__)
def test_a_chart_is_one_element_and_always_the_same(chart: Chart) -> None:
    svg = as_svg(chart)
    assert _Page(svg).tags.count("svg") == 1
    assert svg == as_svg(chart)


def test_names_of_others_stay_text() -> None:
    page = as_html(reported(evaluation=evaluation(by_cohort={HOSTILE: win_rate()})))
    assert "script" not in _Page(page).tags
    assert "<b>" not in page
    assert "frac{1}{0}" in page


def test_what_to_type_to_get_the_same_again_is_one_word_for_the_shell() -> None:
    request: dict[str, Any] = {"name": "it's $HOME `id`", "recipe": {"seed": 7}}
    command = reported(request=request).reproduce[0]
    words = shlex.split(command)
    assert json.loads(words[words.index("--json") + 1]) == request
    assert re.search(r"/v1/runs$", words[-1])
