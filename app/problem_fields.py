"""Which field of a request is wrong: the one form in which errors name it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class FieldError(BaseModel):
    """One thing that is wrong, and where."""

    model_config = ConfigDict(frozen=True)

    field: str = Field(description="Path within the request", examples=["criteria[0].weight"])
    code: str = Field(description="Stable and machine-readable", examples=["greater_than"])
    message: str = Field(description="For a person", examples=["Input should be greater than 0"])


def field_path(location: tuple[int | str, ...], body: object, *, missing: bool) -> str:
    """`("body", "criteria", 0, "check", "words", "any_of")` -> `criteria[0].check.any_of`.

    Pydantic names the chosen member of a union in its locations; what the client did not write is left out.
    """
    path, here = "", body
    for index, part in enumerate(location[1:], start=1):
        if isinstance(part, int):
            path += f"[{part}]"
            here = here[part] if isinstance(here, list) and part < len(here) else None
        elif here is None or (isinstance(here, dict) and (part in here or (missing and index == len(location) - 1))):
            path += f".{part[:200]}" if path else part[:200]
            here = here.get(part) if isinstance(here, dict) else here
    return path or str(location[0])
