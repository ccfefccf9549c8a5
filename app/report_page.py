"""The report as one self-contained HTML page with plots: it runs no script and loads nothing.

What models and clients wrote is escaped by the template engine, so it cannot pose as a part of the page.
"""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment
from markupsafe import Markup

from app.plots import as_svg
from app.rlaif.blocks import Block
from app.rlaif.charts import Chart
from app.rlaif.report import Report
from app.rlaif.report_blocks import blocks

CONTENT_SECURITY_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def as_html(report: Report) -> str:
    """The whole page."""
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["kind"] = lambda block: type(block).__name__.lower()
    environment.filters["drawn"] = _drawn
    template = environment.from_string(Path(__file__).with_name("report_page.html").read_text())
    return template.render(title=f"Report: {report.run.name}", blocks=list(blocks(report)))


def _drawn(block: Block) -> Markup:
    """The chart; its labels were escaped when it was drawn."""
    if not isinstance(block, Chart):
        raise TypeError(f"a {type(block).__name__} is no chart")
    return Markup(as_svg(block))  # noqa: S704  drawn by us, from escaped labels
