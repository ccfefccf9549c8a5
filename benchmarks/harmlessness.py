"""Public dialogues of which people preferred one ending, and a small language model that has read some of them.

The data stands beside the project and is never copied into it; it contains offensive text.
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from benchmarks.llama import SPECIAL, TEMPLATE
from workers.training.completion_logprobs import CompletionScorer
from workers.training.contracts import Optimisation, PreferencePair, Progress
from workers.training.figures import Mean
from workers.training.loop import BatchLoss, Loop
from workers.training.shared_prompts import PromptGroup

FILE = "hh_rlhf_harmless_test.jsonl.gz"
HELD_OUT = 5
"""One prompt in so many is held out."""

_TURNS = {"Human": "user", "Assistant": "assistant"}


@dataclass(frozen=True)
class Dialogues:
    """Pairs with hard labels, `first` the better in every other one, divided by prompt."""

    train: tuple[PreferencePair, ...]
    held_out: tuple[PreferencePair, ...]
    left_out: int


def read_dialogues(path: Path) -> Dialogues:
    """Pairs whose two dialogues are the same up to the last answer, without repetition; the others are counted."""
    with gzip.open(path, "rt") as lines:
        rows = [json.loads(line) for line in lines]
    found: dict[str, PreferencePair] = {}
    for row in rows:
        prompt, chosen = _split(row["chosen"])
        other, rejected = _split(row["rejected"])
        name = hashlib.sha256(prompt.encode()).hexdigest()
        if prompt == other and chosen != rejected and name not in found:
            found[name] = _pair(name, prompt, chosen, rejected)
    parts = [
        [pair for name, pair in found.items() if (int(name, 16) % HELD_OUT == 0) == held] for held in (False, True)
    ]
    return Dialogues(tuple(parts[0]), tuple(parts[1]), left_out=len(rows) - len(found))


def _split(dialogue: str) -> tuple[str, str]:
    prompt, _, answer = dialogue.rpartition("\n\nAssistant:")
    return prompt, answer.strip()


def _pair(name: str, prompt: str, chosen: str, rejected: str) -> PreferencePair:
    messages = []
    for turn in prompt.split("\n\n"):
        speaker, colon, text = turn.partition(":")
        if colon and speaker in _TURNS:
            messages.append({"role": _TURNS[speaker], "content": text.strip()})
        elif messages:
            messages[-1]["content"] += f"\n\n{turn}"
    swapped = int(name, 16) // HELD_OUT % 2 == 1
    first, second = (rejected, chosen) if swapped else (chosen, rejected)
    return PreferencePair(id=name, prompt=messages, first=first, second=second, probability=0.0 if swapped else 1.0)


def language_model(pairs: Sequence[PreferencePair], directory: Path, config: Optimisation, progress: Progress) -> int:
    """Write a Llama to `directory` that was trained on the pairs' dialogues, both endings; returns its parameters."""
    tokenizer = _tokenizer(pairs)
    settings = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    torch.manual_seed(config.seed)
    model = LlamaForCausalLM(settings)
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    texts = [_Text(tuple(ids[: config.max_length])) for pair in pairs for ids in _rendered(tokenizer, pair)]
    Loop(
        model,
        texts,
        _NextToken(CompletionScorer(model)),
        config=config,
        fingerprint="language model",
        state_dir=directory / ".state",
        progress=progress,
    ).run()
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return int(model.num_parameters())


@dataclass(frozen=True)
class _Text:
    ids: tuple[int, ...]

    @property
    def length(self) -> int:
        return len(self.ids)

    @property
    def token_count(self) -> int:
        return len(self.ids)


@dataclass(frozen=True)
class _NextToken:
    """The mean negative log-likelihood a token."""

    scorer: CompletionScorer

    def __call__(self, batch: Sequence[_Text]) -> BatchLoss:
        sums = self.scorer.sums([PromptGroup(text.ids[:1], (text.ids[1:],)) for text in batch])
        loss = -sums.sum() / sum(len(text.ids) - 1 for text in batch)
        return BatchLoss(loss, {"nll": Mean.over(loss.detach().expand(len(batch)))})


def _rendered(tokenizer: Any, pair: PreferencePair) -> list[list[int]]:
    every = ([*pair.prompt, {"role": "assistant", "content": answer}] for answer in (pair.first, pair.second))
    texts = [tokenizer.apply_chat_template(messages, tokenize=False) for messages in every]
    return [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]


def _tokenizer(pairs: Sequence[PreferencePair]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    turns = (str(message["content"]) for pair in pairs for message in pair.prompt)
    answers = (text for pair in pairs for text in (pair.first, pair.second))
    tokenizer.train_from_iterator([*turns, *answers], trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, eos_token=SPECIAL[0], pad_token=SPECIAL[1], chat_template=TEMPLATE
    )
