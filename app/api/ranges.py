"""Downloads that can go on where they stopped: one byte range (RFC 9110, section 14), `If-Range`, `If-None-Match`.

Several ranges in one request are answered with the whole, as the RFC allows: nobody needs them, and they are an attack.
"""

from __future__ import annotations

import re
from urllib.parse import quote

from fastapi import Request, Response
from starlette.responses import StreamingResponse

from app.errors import ServiceError
from app.services.checkpoints import Download

_ONE_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")


class RangeNotSatisfiable(ServiceError):
    """Raised when the range begins behind the end."""

    status = 416
    title = "Range not satisfiable"


def respond(request: Request, download: Download) -> Response:
    """200 with all of it, 206 with the range, or 304. Raises RangeNotSatisfiable."""
    etag = f'"{download.etag}"'
    headers = {"ETag": etag, "Accept-Ranges": "bytes", "Content-Disposition": _disposition(download.name)}
    if etag in (tag.strip() for tag in request.headers.get("if-none-match", "").split(",")):
        return Response(status_code=304, headers=headers)
    wanted = _wanted(request, etag, download.size)
    start, stop = wanted or (0, download.size)
    headers["Content-Length"] = str(stop - start)
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{download.size}"
    return StreamingResponse(download.read(start, stop), 206 if wanted else 200, headers, download.media_type)


def _wanted(request: Request, etag: str, size: int) -> tuple[int, int] | None:
    """First byte and the one behind the last, or None for everything."""
    match = _ONE_RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    if match is None or match.groups() == ("", "") or request.headers.get("if-range", etag) != etag:
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < start:
            return None
    if start >= stop:
        raise RangeNotSatisfiable(
            f"the range begins behind the end: there are {size} bytes",
            field="Range",
            headers={"Content-Range": f"bytes */{size}"},
        )
    return start, stop


def _disposition(name: str) -> str:
    return f"attachment; filename*=UTF-8''{quote(name, safe='')}"
