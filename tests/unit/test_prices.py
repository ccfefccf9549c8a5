"""What tokens cost: stated by the judge, else by the operator's table; None where nobody knows."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import ValidationError

from app.config import Settings
from app.rlaif.judges import ChecksJudge, OpenAIJudge
from app.rlaif.prices import FREE, STATED, PriceRow, PriceTable, tariff_of
from app.services.prices import PricesUnreadable, price_table

TABLE = PriceTable(
    prices=(
        PriceRow(
            model="gpt-5-mini*", input=0.25, output=2.0, cached_input=0.025, source="list", as_of=date(2026, 1, 2)
        ),
        PriceRow(model="*", input=9.0, output=9.0, source="dear", as_of=date(2026, 1, 2)),
    )
)
TOML = '[[prices]]\nmodel = "m*"\ninput = 1.5\noutput = 6\nsource = "https://example.com"\nas_of = 2026-01-02\n'
JSON = '{"prices": [{"model": "m", "input": 1.5, "output": 6, "source": "s", "as_of": "2026-01-02"}]}'


def judge(**prices: float) -> OpenAIJudge:
    return OpenAIJudge(family="gpt", base_url="https://example.com/v1", model="gpt-5-mini-2026", **prices)


class TestTariff:
    def test_the_judges_own_prices_come_first(self) -> None:
        stated = judge(usd_per_million_input_tokens=1.0, usd_per_million_output_tokens=2.0)
        found = tariff_of(stated, TABLE)
        assert found is not None
        assert (found.input, found.output, found.source) == (Decimal("1.0"), Decimal("2.0"), STATED)

    def test_the_first_row_that_matches_decides(self) -> None:
        found = tariff_of(judge(), TABLE)
        assert found is not None
        assert found.as_record() == {
            "usd_per_million_input_tokens": "0.25",
            "usd_per_million_output_tokens": "2.0",
            "usd_per_million_cached_input_tokens": "0.025",
            "source": "list",
            "as_of": "2026-01-02",
        }

    def test_nobody_knows_without_a_row(self) -> None:
        assert tariff_of(judge(), PriceTable()) is None
        assert tariff_of(ChecksJudge(), PriceTable()) is FREE

    def test_tokens_of_the_endpoints_cache_have_their_own_price(self) -> None:
        found = tariff_of(judge(), TABLE)
        assert found is not None
        assert found.cost(1_000_000, 500_000, cached_tokens=400_000) == Decimal("0.15") + Decimal("0.01") + Decimal("1")

    @pytest.mark.parametrize(
        "prices", [{"usd_per_million_input_tokens": 1.0}, {"usd_per_million_cached_input_tokens": 1.0}]
    )
    def test_half_a_price_is_refused(self, prices: dict[str, float]) -> None:
        with pytest.raises(ValidationError, match="price"):
            judge(**prices)


class TestTable:
    @pytest.mark.parametrize(("name", "text"), [("prices.toml", TOML), ("prices.json", JSON)])
    def test_is_read_from_the_operators_file(self, tmp_path: Path, name: str, text: str) -> None:
        path = tmp_path / name
        path.write_text(text)
        found = price_table(Settings(database_url="postgresql+psycopg://nobody@/nothing", prices=path))
        assert found.of("m") is not None
        assert found.of("n") is None

    def test_without_a_file_is_empty(self) -> None:
        assert price_table(Settings(database_url="postgresql+psycopg://nobody@/nothing")) == PriceTable()

    @pytest.mark.parametrize("text", ["{", '{"prices": [{"model": "m"}]}', JSON.replace("1.5", "-1")])
    def test_that_cannot_be_read_names_the_file(self, tmp_path: Path, text: str) -> None:
        path = tmp_path / "prices.json"
        path.write_text(text)
        with pytest.raises(PricesUnreadable, match=r"prices\.json"):
            price_table(Settings(database_url="postgresql+psycopg://nobody@/nothing", prices=path))
