"""Reading the base model to train and writing the trained one, in the layout that plain transformers reads."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from app.rlaif.architectures import ENCODERS
from app.rlaif.training import LoraConfig
from workers.sampling.language_model import LanguageModel, default_device, load_tokenizer, stop_token_ids
from workers.training import ranks
from workers.training.quantization import keep_exact, quantized_loading
from workers.training.shared_prompts import share_prompts

_MEMBERS = "members"


def load_policy(model_dir: Path, *, lora: LoraConfig | None = None) -> LanguageModel:
    """The causal model in float32 on the default device; its linear layers in four bits where `lora` says so.

    Raises `NoChatTemplate`, `NoStopToken`, `QuantizationUnavailable`.
    """
    settings = quantized_loading(lora, model_dir, AutoModelForCausalLM)
    policy = LanguageModel.load(model_dir, dtype=torch.float32, **settings)
    keep_exact(policy.model)
    return policy


@dataclass(frozen=True)
class ScalarModel:
    """A sequence classifier with one output, its tokenizer and the tokens that end an answer.

    `opening` are the tokens that every input begins with: an encoder is scored there, a causal model on the last token.
    `head` names the modules that turn hidden states into the reward, or that were drawn for want of stored weights.
    `shares_prompts`: it takes a packing, and its reward is its linear head on a completion's last token. `members` are
    the further models of an ensemble.
    """

    model: Any
    tokenizer: Any
    stop_ids: frozenset[int]
    shares_prompts: bool
    opening: tuple[int, ...] = ()
    head: tuple[str, ...] = ("score",)
    members: tuple[ScalarModel, ...] = ()


def load_scalar_model(
    model_dir: Path, *, seed: int = 0, template_dir: Path | None = None, lora: LoraConfig | None = None
) -> ScalarModel:
    """A reward model in float32 on the default device; made from another model, its head is drawn from `seed`.

    A backbone without a chat template of its own reads conversations as the model in `template_dir` renders them, and
    is saved with that template. A causal model is scored on the last token that is not padding, so padding must differ
    from every stop token: a tokenizer that pads with one is given another token (any will do, the mask hides it), and
    the model is saved with that. All but the head is in four bits where `lora` says so. Raises `NoChatTemplate`,
    `NoStopToken`, `QuantizationUnavailable`.
    """
    tokenizer = load_tokenizer(model_dir, template_dir=template_dir)
    torch.manual_seed(seed)
    model, loading = AutoModelForSequenceClassification.from_pretrained(
        model_dir,
        num_labels=1,
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        ignore_mismatched_sizes=True,  # a classifier of other labels gets a new head
        output_loading_info=True,
        **quantized_loading(lora, model_dir, AutoModelForSequenceClassification),
    )
    keep_exact(model)
    encodes = model.config.model_type in ENCODERS
    stop_ids = frozenset({tokenizer.sep_token_id}) if encodes else stop_token_ids(model_dir, tokenizer)
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in stop_ids:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(min(set(range(len(tokenizer))) - stop_ids))
    model.config.pad_token_id = tokenizer.pad_token_id
    model.to(default_device()).eval()
    has_linear_head = isinstance(getattr(model, "score", None), torch.nn.Linear)
    return ScalarModel(
        model,
        tokenizer,
        stop_ids,
        shares_prompts=has_linear_head and share_prompts(model),
        opening=(tokenizer.cls_token_id,) if encodes else (),
        head=_head(model, drawn={*loading["missing_keys"], *(name for name, *_ in loading["mismatched_keys"])}),
        members=tuple(load_scalar_model(path) for path in sorted((model_dir / _MEMBERS).glob("*"))),
    )


def _head(model: Any, *, drawn: Collection[str]) -> tuple[str, ...]:
    """The modules whose parameters lie outside of the backbone, or are in `drawn`."""
    backbone = f"{model.base_model_prefix}."
    names = [name for name, _ in model.named_parameters() if name in drawn or not name.startswith(backbone)]
    return tuple(dict.fromkeys(name.rpartition(".")[0] for name in names))


def member_directory(out_dir: Path, index: int) -> Path:
    """Where a model of an ensemble lies: the first is what plain transformers reads, the others stand inside it."""
    return out_dir if index == 0 else out_dir / _MEMBERS / str(index)


def save_model(model: Any, tokenizer: Any, out_dir: Path, *, base_dir: Path) -> None:
    """Write weights (safetensors, in the base model's own dtype), tokenizer, template and generation config.

    Of several ranks the first one writes; all have the same.
    """
    if not ranks.is_first():
        return
    dtype = AutoConfig.from_pretrained(base_dir, local_files_only=True, trust_remote_code=False).dtype
    out_dir.mkdir(parents=True, exist_ok=True)
    model.to(dtype or torch.float32).save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)
    if (base_dir / "generation_config.json").exists():
        shutil.copyfile(base_dir / "generation_config.json", out_dir / "generation_config.json")
