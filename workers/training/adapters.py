"""Low-rank adapters (Hu et al., arXiv 2106.09685): added in place, saved as peft reads them, merged and compared.

The model stays the object that it was, so whatever scores it scores it with its adapters.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from app.rlaif.training import LoraConfig
from workers.training import ranks
from workers.training.contracts import MergeDiffers
from workers.training.quantization import dequantize, is_quantized

ADAPTER = "adapter"
"""The directory beside a merged model's weights where the adapters lie by themselves."""

_TOLERANCE = 1e-3


class Adapters:
    """The adapters of one model; only they, and the modules of a head, which is trained whole, are trained."""

    def __init__(self, model: Any, config: LoraConfig, *, seed: int, head: Sequence[str] | None) -> None:
        from peft import LoraConfig as PeftConfig
        from peft import get_peft_model

        self._model = model
        torch.manual_seed(seed)
        whole = list(head) if head else None
        settings = PeftConfig(
            r=config.rank,
            lora_alpha=config.alpha,
            target_modules="all-linear",
            exclude_modules=whole,
            modules_to_save=whole,
        )
        with _peft_of_transformers_5():
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

        A model in four bits is left in float32, on the CPU: the adapters are merged into the weights that they were
        trained beside, and four bits would round them away. Raises `MergeDiffers`.
        """
        before = measure().cpu()
        if is_quantized(self._model):
            self._dequantize()
        self._adapted.merge_and_unload()
        difference = ((measure().cpu() - before).abs() / before.abs().clamp(min=1)).max().item()
        if not difference <= _TOLERANCE:
            raise MergeDiffers(difference, _TOLERANCE)

    def _dequantize(self) -> None:
        """The same adapters on the same weights as plain numbers."""
        from peft import get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict

        (saved,) = self._adapted.peft_config.values()
        trained = get_peft_model_state_dict(self._adapted, save_embedding_layers=False)
        self._adapted.unload()
        dequantize(self._model)
        with _peft_of_transformers_5():
            self._adapted = get_peft_model(self._model, replace(saved, base_model_name_or_path=None))
        set_peft_model_state_dict(self._adapted, trained)


@contextmanager
def _peft_of_transformers_5() -> Iterator[None]:
    """peft 0.21 asks transformers 5 by a name of transformers 4."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
