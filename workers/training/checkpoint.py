"""Reading the base model to train and writing the trained one, in the layout that plain transformers reads."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForSequenceClassification

from workers.sampling.language_model import LanguageModel, default_device, load_tokenizer, stop_token_ids
from workers.training.shared_prompts import share_prompts

_MEMBERS = "members"


def load_policy(model_dir: Path) -> LanguageModel:
    """The causal model in float32 on the default device."""
    return LanguageModel.load(model_dir, dtype=torch.float32)


@dataclass(frozen=True)
class ScalarModel:
    """A sequence classifier with one output, its tokenizer and the tokens that end an answer.

    `shares_prompts`: it takes a packing, and its reward is its linear head on a completion's last token. `members` are
    the further models of an ensemble.
    """

    model: Any
    tokenizer: Any
    stop_ids: frozenset[int]
    shares_prompts: bool
    members: tuple[ScalarModel, ...] = ()


def load_scalar_model(model_dir: Path, *, seed: int = 0) -> ScalarModel:
    """A reward model in float32 on the default device; made from a causal model, its head is drawn from `seed`.

    It is scored on the last token that is not padding, so padding must differ from every stop token: a tokenizer that
    pads with one is given another token (any will do, the mask hides it), and the model is saved with that.
    """
    tokenizer = load_tokenizer(model_dir)
    stop_ids = stop_token_ids(model_dir, tokenizer)
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_pretrained(
        model_dir,
        num_labels=1,
        dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
    )
    if tokenizer.pad_token_id is None or tokenizer.pad_token_id in stop_ids:
        tokenizer.pad_token = tokenizer.convert_ids_to_tokens(min(set(range(len(tokenizer))) - stop_ids))
    model.config.pad_token_id = tokenizer.pad_token_id
    model.to(default_device()).eval()
    has_linear_head = isinstance(getattr(model, "score", None), torch.nn.Linear)
    shares_prompts = has_linear_head and share_prompts(model)
    members = tuple(load_scalar_model(path) for path in sorted((model_dir / _MEMBERS).glob("*")))
    return ScalarModel(model, tokenizer, stop_ids, shares_prompts, members)


def member_directory(out_dir: Path, index: int) -> Path:
    """Where a model of an ensemble lies: the first is what plain transformers reads, the others stand inside it."""
    return out_dir if index == 0 else out_dir / _MEMBERS / str(index)


def save_model(model: Any, tokenizer: Any, out_dir: Path, *, base_dir: Path) -> None:
    """Write weights (safetensors, in the base model's own dtype), tokenizer, template and generation config."""
    dtype = AutoConfig.from_pretrained(base_dir, local_files_only=True, trust_remote_code=False).dtype
    out_dir.mkdir(parents=True, exist_ok=True)
    model.to(dtype or torch.float32).save_pretrained(out_dir)
    tokenizer.save_pretrained(out_dir)
    if (base_dir / "generation_config.json").exists():
        shutil.copyfile(base_dir / "generation_config.json", out_dir / "generation_config.json")
