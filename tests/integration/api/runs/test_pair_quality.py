"""The pair-quality report over HTTP: there before training, in a resource of its own and in the run's report."""

from __future__ import annotations

from typing import Any

import pytest

from app.rlaif.pair_quality import assess
from tests.integration.api.runs.produced import FIGURES
from tests.integration.api.runs.service import Client
from tests.unit.test_pair_quality import pairs

QUALITY: dict[str, Any] = assess([*pairs(60), *pairs(6)], seed=0).model_dump(mode="json")
METRICS: dict[str, Any] = FIGURES | {
    "sample": {"prompts_too_long": 1, "prompts_too_long_ids": ["novel"], "overlong_prompts": 0},
    "prefer": FIGURES["prefer"] | {"pair_quality": QUALITY},
}


@pytest.fixture
def run_id(client: Client) -> str:
    """A run that stopped before any training."""
    run = client.run(recipe={"stop_after": "prefer"})
    client.drive(run["id"], metrics=METRICS)
    return str(run["id"])


class TestPairQuality:
    def test_is_what_the_prefer_stage_found(self, client: Client, run_id: str) -> None:
        found = client.get(f"/v1/runs/{run_id}/pair-quality")
        assert found["pairs"] == QUALITY
        assert found["prompts_too_long"]["named"] == ["novel"]
        assert found["prompts_too_long"]["window"] >= 1
        assert {warning["code"] for warning in found["pairs"]["warnings"]} == {"few_pairs", "duplicate_pairs"}

    def test_is_a_part_of_the_report(self, client: Client, run_id: str) -> None:
        report = client.get(f"/v1/runs/{run_id}/report")
        assert report["pairs"] == QUALITY
        assert report["prompts_too_long"]["named"] == ["novel"]
        for form in ("markdown", "text"):
            text = client.http.get(f"/v1/runs/{run_id}/report", params={"format": form}).text.replace("\\", "")
            assert "Pairs to train on" in text
            assert "duplicate_pairs" in text
            assert "Remove repeated prompts" in text
            assert "(novel)" in text

    def test_before_it_was_measured_it_is_null(self, client: Client) -> None:
        run = client.run()
        assert client.get(f"/v1/runs/{run['id']}/pair-quality") == {
            "run_id": run["id"],
            "prompts_too_long": None,
            "pairs": None,
        }
