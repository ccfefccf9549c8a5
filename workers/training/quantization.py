"""Base weights in four bits while adapters are trained beside them (QLoRA, arXiv 2305.14314), by bitsandbytes.

Four-bit layers compute in float32, or in bfloat16 where autocast says so, as every other matrix product here does.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, BitsAndBytesConfig

from app.rlaif.training import LoraConfig
from workers.training.contracts import QuantizationUnavailable

_BLOCK = 64  # weights that share a scale


def quantized_loading(lora: LoraConfig | None, model_dir: Path, auto_class: Any) -> dict[str, Any]:
    """What `auto_class.from_pretrained` is to be told: nothing where weights stay as they are.

    Raises `QuantizationUnavailable`.
    """
    if lora is None or lora.quantization is None:
        return {}
    if find_spec("bitsandbytes") is None:
        raise QuantizationUnavailable(lora.quantization)
    settings = BitsAndBytesConfig(  # type: ignore[no-untyped-call]
        load_in_4bit=True,
        bnb_4bit_quant_type=lora.quantization,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
        llm_int8_skip_modules=list(_kept(model_dir, auto_class)),
    )
    return {"quantization_config": settings}


def _kept(model_dir: Path, auto_class: Any) -> Iterator[str]:
    """The modules that stay as they are: heads; the pooler, which a masked language model's files lack; and layers
    whose rows are no whole blocks, which bitsandbytes 0.50 reads wrongly on a CPU (measured: 25 % off, not 9 %)."""
    config = AutoConfig.from_pretrained(model_dir, local_files_only=True, trust_remote_code=False)
    with torch.device("meta"):
        skeleton = auto_class.from_config(config)
    backbone = skeleton.base_model_prefix
    yield from (name for name, _ in skeleton.named_children() if name != backbone)
    yield f"{backbone}.pooler"
    for name, module in skeleton.named_modules():
        if isinstance(module, torch.nn.Linear) and module.in_features % _BLOCK:
            yield name


def keep_exact(model: Any) -> None:
    """Where a CPU has bfloat16 arithmetic, bitsandbytes would pack weights for it in a first pass without gradient."""
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            module.support_avx512bf16_for_cpu = False


def is_quantized(model: Any) -> bool:
    return getattr(model, "hf_quantizer", None) is not None


def dequantize(model: Any) -> None:
    """The same weights in float32, in the CPU's memory, which has room where an accelerator's may have none."""
    model.to("cpu")
    model.dequantize()
    model.to(torch.float32)
