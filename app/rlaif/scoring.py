"""What a run does that only scores given texts with a trained reward model."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.rlaif.sections import Section


class ScoreConfig(Section):
    """Which reward model scores, and how its work is cut."""

    checkpoint: Annotated[str, Field(min_length=1, max_length=100)]
    batch_size: Annotated[int, Field(strict=True, ge=1, le=4096)] = 32
    prompts_per_shard: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 2048
