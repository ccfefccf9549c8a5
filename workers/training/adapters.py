"""Low-rank adapters (Hu et al., arXiv 2106.09685): added in place, saved as peft reads them, merged and compared.

The model stays the object that it was, so whatever scores it scores it with its adapters.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from app.rlaif.training import LoraConfig
from workers.training import ranks
from workers.training.contracts import MergeDiffers

ADAPTER = "adapter"
"""The directory beside a merged model's weights where the adapters lie by themselves."""

_TOLERANCE = 1e-3


class Adapters:
    """The adapters of one model; only they, and the modules of a head, which is trained whole, are trained."""

    def __init__(self, model: Any, config: LoraConfig, *, seed: int, head: Sequence[str] | None) -> None:
        from peft import LoraConfig as PeftConfig
        from peft import get_peft_model

        torch.manual_seed(seed)
        whole = list(head) if head else None
        settings = PeftConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            target_modules="all-linear",
            exclude_modules=whole,
            modules_to_save=whole,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft 0.21 asks transformers 5 by a name of transformers 4
            self._adapted: Any = get_peft_model(model, settings)

    def save(self, out_dir: Path) -> None:
        """Write `out_dir/adapter`; it names no base model by path, since that path is the worker's own.

        Of several ranks the first one writes.
        """
        if not ranks.is_first():
            return
        (settings,) = self._adapted.peft_config.values()
        settings.base_model_name_or_path = ""
        self._adapted.save_pretrained(out_dir / ADAPTER, save_embedding_layers=False)

    @torch.no_grad()
    def merge(self, measure: Callable[[], torch.Tensor]) -> None:
        """Leave the model with merged weights and no adapters. `measure` is computed before and after.

        Raises `MergeDiffers`.
        """
        before = measure()
        self._adapted.merge_and_unload()
        difference = ((measure() - before).abs() / before.abs().clamp(min=1)).max().item()
        if not difference <= _TOLERANCE:
            raise MergeDiffers(difference, _TOLERANCE)
