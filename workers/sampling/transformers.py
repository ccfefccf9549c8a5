"""Sampling in process with transformers: one batched decode loop, seeded per completion.

Prompts are padded on the left. Where rounding could decide a token, the row is computed once more alone, so that in
float32 a completion is the same in every batch. In bfloat16 rounding is too coarse for that: there a completion is only
reproduced by the batch it was drawn in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from workers.sampling.decoding import Drawing, decode
from workers.sampling.language_model import LanguageModel
from workers.sampling.sampler import Sampler


class TransformersEngine:
    """A local model on one device."""

    def __init__(self, language_model: LanguageModel) -> None:
        self._language_model = language_model
        self.tokenizer: Any = language_model.tokenizer
        self.stop_ids = language_model.stop_ids
        self.window = language_model.window
        self.exact = language_model.model.dtype is torch.float32

    def decode(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        *,
        drawing: Drawing,
        should_stop: Callable[[], bool],
    ) -> list[list[int]] | None:
        """Asked to stop before each token."""
        return decode(self._language_model, prompts, seeds, drawing=drawing, should_stop=should_stop)


class TransformersSampler(Sampler):
    """Answers prompts with a local model on one device."""

    def __init__(self, model_dir: Path, *, device: str | None = None, dtype: torch.dtype | None = None) -> None:
        super().__init__(TransformersEngine(LanguageModel.load(model_dir, device=device, dtype=dtype)))
