"""What judges' tokens cost: stated by the judge, else by the operator's table; None where nobody gave a price. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from app.rlaif.judges import JudgeSpec, Price, RemoteJudge

_MILLION = Decimal(1_000_000)
STATED = "the judge's own configuration"


@dataclass(frozen=True, slots=True)
class Tariff:
    """USD per million tokens, who says so, and as of when."""

    input: Decimal
    output: Decimal
    cached_input: Decimal
    source: str
    as_of: date | None = None

    def cost(self, prompt_tokens: int, completion_tokens: int, *, cached_tokens: int = 0) -> Decimal:
        """USD. `cached_tokens` are those of the prompt that the endpoint had in its cache."""
        fresh = prompt_tokens - cached_tokens
        return (fresh * self.input + cached_tokens * self.cached_input + completion_tokens * self.output) / _MILLION

    def as_record(self) -> dict[str, str | None]:
        """As a stage keeps it."""
        return {
            "usd_per_million_input_tokens": str(self.input),
            "usd_per_million_output_tokens": str(self.output),
            "usd_per_million_cached_input_tokens": str(self.cached_input),
            "source": self.source,
            "as_of": None if self.as_of is None else self.as_of.isoformat(),
        }


FREE = Tariff(Decimal(0), Decimal(0), Decimal(0), "no tokens are bought")


class PriceRow(BaseModel):
    """The price of the models whose name matches."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str, Field(min_length=1, max_length=256)] = Field(
        description="A model's name at its endpoint; `*` stands for anything", examples=["gpt-4.1-mini*"]
    )
    input: Price = Field(description="USD per million tokens read")
    output: Price = Field(description="USD per million tokens written")
    cached_input: Price | None = Field(None, description="USD per million tokens read from the endpoint's cache")
    source: Annotated[str, Field(min_length=1, max_length=500)] = Field(description="Where the price is published")
    as_of: date = Field(description="When it was read there")

    def tariff(self) -> Tariff:
        cached = self.input if self.cached_input is None else self.cached_input
        return Tariff(_exact(self.input), _exact(self.output), _exact(cached), self.source, self.as_of)


class PriceTable(BaseModel):
    """The operator's prices; the first row that matches counts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prices: tuple[PriceRow, ...] = ()

    def of(self, model: str) -> Tariff | None:
        return next((row.tariff() for row in self.prices if fnmatchcase(model, row.model)), None)


def tariff_of(spec: JudgeSpec, table: PriceTable) -> Tariff | None:
    """What a judge's tokens cost; None where nobody has given a price for them."""
    if not isinstance(spec, RemoteJudge):
        return FREE
    if spec.usd_per_million_input_tokens is None or spec.usd_per_million_output_tokens is None:
        return table.of(spec.model)
    stated, cached = spec.usd_per_million_input_tokens, spec.usd_per_million_cached_input_tokens
    return Tariff(
        _exact(stated), _exact(spec.usd_per_million_output_tokens), _exact(stated if cached is None else cached), STATED
    )


def unpriced(name: str, spec: JudgeSpec) -> str:
    """Why a limit in USD is refused, and what to do."""
    model = spec.model if isinstance(spec, RemoteJudge) else spec.kind
    return (
        f"budget.judge_usd could never be reached: nobody has said what the tokens of judge {name!r} (model {model!r}) "
        "cost. State usd_per_million_input_tokens and usd_per_million_output_tokens in the judge (0 if they are free), "
        "have the operator add the model to RLAIF_PRICES, or leave budget.judge_usd out"
    )


def _exact(dollars: float) -> Decimal:
    return Decimal(str(dollars))
