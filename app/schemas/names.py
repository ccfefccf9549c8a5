"""The names that clients give to things."""

from __future__ import annotations

from typing import Annotated

from pydantic import StringConstraints

ResourceName = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=200, pattern=r"^[^\s\x00-\x1f\x7f]([^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f])?$"
    ),
]
