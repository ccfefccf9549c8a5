"""The operator's price table, read from the file that RLAIF_PRICES names."""

from __future__ import annotations

import json
import tomllib

from pydantic import ValidationError

from app.config import Settings
from app.rlaif.prices import PriceTable


class PricesUnreadable(RuntimeError):
    """The file that RLAIF_PRICES names is missing or is no price table."""


def price_table(settings: Settings) -> PriceTable:
    """Empty where the operator has none. Raises PricesUnreadable naming the file and what is wrong in it."""
    path = settings.prices
    if path is None:
        return PriceTable()
    try:
        text = path.read_text(encoding="utf-8")
        return PriceTable.model_validate(tomllib.loads(text) if path.suffix == ".toml" else json.loads(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise PricesUnreadable(f"RLAIF_PRICES={path}: {place}: {first['msg']}") from error
    except (OSError, ValueError) as error:
        raise PricesUnreadable(f"RLAIF_PRICES={path}: {error}") from error
