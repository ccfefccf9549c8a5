"""What an evaluation without training measures: one model, checkpoint or endpoint against another."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.rlaif.sections import Section

ENDPOINT = "judge_"
"""The beginning of an id that names an endpoint: a judge whose model answers the prompts itself."""

SubjectId = Annotated[str, Field(min_length=1, max_length=100)]


class MeasureConfig(Section):
    """Ids of a model, or of a judge whose endpoint answers."""

    measured: SubjectId
    baseline: SubjectId

    @property
    def measures_endpoint(self) -> bool:
        return self.measured.startswith(ENDPOINT)

    @property
    def meets_endpoint(self) -> bool:
        """Whether the baseline's completions come from an endpoint."""
        return self.baseline.startswith(ENDPOINT)
