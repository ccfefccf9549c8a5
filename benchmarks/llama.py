"""A random Llama of a given shape, written to disk as a base model: its speed is that of a trained one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.workload import Shape, words
from workers.sampling.language_model import default_device

# Nothing follows the stop token: TRL would train on it too, ours would not, and the two would have other tokens.
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SPECIAL = ("<|im_end|>", "<|pad|>", "<|im_start|>")
UNKNOWN = "<|unknown|>"


def build_model(shape: Shape, directory: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write weights and a tokenizer of whole words; log-probabilities are far from uniform."""
    tokenizer = _tokenizer(shape.vocabulary)
    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        max_position_embeddings=shape.window,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.1,
    )
    torch.manual_seed(0)
    with default_device():
        model: Any = LlamaForCausalLM(config)
    model.to(dtype)
    model.model.norm.weight.data.fill_(shape.sharpness)
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def _tokenizer(vocabulary: int) -> PreTrainedTokenizerFast:
    known = [*SPECIAL, UNKNOWN, "user", "assistant", *words(vocabulary - 16)]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(known)}, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.add_special_tokens(list(SPECIAL))
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, eos_token=SPECIAL[0], pad_token=SPECIAL[1], chat_template=TEMPLATE
    )
