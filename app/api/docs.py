"""`/docs`: the OpenAPI document as one page for people. It loads nothing, so it works without a network."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment

from app.api.bodies import OpenRoute

router = APIRouter(route_class=OpenRoute)
_HEADERS = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}
_REF = re.compile(r"#/components/schemas/(\w+)")


@router.get("/docs", include_in_schema=False)
def docs(request: Request) -> HTMLResponse:
    """Every operation and schema."""
    state = request.app.state
    if not hasattr(state, "docs"):
        state.docs = page(request.app.openapi())
    return HTMLResponse(state.docs, headers=_HEADERS)


def page(spec: dict[str, Any]) -> str:
    """The document as HTML."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for path, item in spec["paths"].items():
        for method, operation in item.items():
            groups.setdefault(operation["tags"][0], []).append({**operation, "method": method.upper(), "path": path})
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["linked"] = _linked
    template = environment.from_string(Path(__file__).with_name("docs.html").read_text())
    return template.render(info=spec["info"], groups=groups, schemas=spec["components"]["schemas"])


def _linked(part: dict[str, Any]) -> str:
    """JSON as HTML: escaped, and its references lead to their schemas."""
    return _REF.sub(r'<a href="#schema-\1">\1</a>', html.escape(json.dumps(part, indent=2, ensure_ascii=False)))
