"""A causal language model with its tokenizer, chat template and stop tokens, read from a local directory.

Never runs code from the directory, reads only safetensors and never goes to the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils import logging

from app.rlaif.architectures import usable_positions
from workers.sampling.engine import Messages, Tools

logging.disable_progress_bar()  # type: ignore[no-untyped-call]  # a worker's log is lines, not bars


class NoChatTemplate(Exception):
    """Raised when a model's tokenizer has no chat template, so a conversation has no defined rendering."""

    def __init__(self, model_dir: Path) -> None:
        super().__init__(f"{model_dir.name}: the tokenizer has no chat template; add chat_template.jinja to the model")


class NoStopToken(Exception):
    """Raised when neither the generation config nor the tokenizer names an end-of-sequence token."""

    def __init__(self, model_dir: Path) -> None:
        super().__init__(
            f"{model_dir.name}: no end-of-sequence token; set eos_token_id in generation_config.json "
            "or eos_token in tokenizer_config.json"
        )


def default_device() -> torch.device:
    """The first CUDA device where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def load_tokenizer(model_dir: Path, *, template_dir: Path | None = None) -> Any:
    """The tokenizer of a model directory; where it has no chat template, with that of the model in `template_dir`.

    Raises `NoChatTemplate`.
    """
    tokenizer = AutoTokenizer.from_pretrained(model_dir, local_files_only=True, trust_remote_code=False)
    if not tokenizer.chat_template and template_dir is not None:
        tokenizer.chat_template = load_tokenizer(template_dir).chat_template
    if not tokenizer.chat_template:
        raise NoChatTemplate(model_dir)
    return tokenizer


def render_prompt(tokenizer: Any, messages: Messages, *, tools: Tools | None = None) -> str:
    """The conversation as text, up to the point where the assistant answers."""
    text: str = tokenizer.apply_chat_template(
        [dict(message) for message in messages], tools=tools, tokenize=False, add_generation_prompt=True
    )
    return text


def encode(tokenizer: Any, text: str) -> list[int]:
    """Token ids of text that a chat template rendered, so special tokens are already in it."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def stop_token_ids(model_dir: Path, tokenizer: Any) -> frozenset[int]:
    """Every token that ends an answer: those of the generation config and the tokenizer's own.

    Without a generation_config.json it is derived from config.json, as transformers does. Raises `NoStopToken`.
    """
    if (model_dir / "generation_config.json").exists():
        generation = GenerationConfig.from_pretrained(model_dir, local_files_only=True)
    else:
        config = AutoConfig.from_pretrained(model_dir, local_files_only=True, trust_remote_code=False)
        generation = GenerationConfig.from_model_config(config)
    configured = generation.eos_token_id
    listed = configured if isinstance(configured, list) else [configured]
    stop_ids = frozenset(int(token) for token in (*listed, tokenizer.eos_token_id) if token is not None)
    if not stop_ids:
        raise NoStopToken(model_dir)
    return stop_ids


def pad_left(sequences: Sequence[Sequence[int]], *, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, both (rows, longest), padded on the left. The mask hides the id used to pad."""
    width = max(len(sequence) for sequence in sequences)
    ids = torch.tensor([[0] * (width - len(sequence)) + list(sequence) for sequence in sequences])
    mask = torch.tensor([[0] * (width - len(sequence)) + [1] * len(sequence) for sequence in sequences])
    return ids.to(device), mask.to(device)


def window_of(model: Any) -> int | None:
    """The positions that a model has for prompt and answer together; None for one that states no limit."""
    stated: int | None = getattr(model.config, "max_position_embeddings", None)
    if stated is None:
        return None
    return usable_positions(model.config.model_type, stated, padding_id=model.config.pad_token_id)


@dataclass(frozen=True)
class LanguageModel:
    """Weights in evaluation mode, their tokenizer and the tokens that end an answer."""

    model: Any
    tokenizer: Any
    stop_ids: frozenset[int]
    device: torch.device

    @property
    def window(self) -> int | None:
        return window_of(self.model)

    @classmethod
    def load(
        cls, model_dir: Path, *, device: str | None = None, dtype: torch.dtype | None = None, **settings: Any
    ) -> Self:
        """Read a model; `dtype` None keeps the one it was saved in, `settings` are further ones of `from_pretrained`.

        Raises `NoChatTemplate`, `NoStopToken`.
        """
        target = torch.device(device) if device else default_device()
        tokenizer = load_tokenizer(model_dir)
        stop_ids = stop_token_ids(model_dir, tokenizer)
        model: Any = AutoModelForCausalLM.from_pretrained(
            model_dir,
            dtype=dtype or "auto",
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            **settings,
        )
        return cls(model=model.to(target).eval(), tokenizer=tokenizer, stop_ids=stop_ids, device=target)
