"""A tiny random Llama with its own tokenizer, preference pairs for it, and a progress that stops when told.

Importable without pytest, so that processes which are to be killed can use it too.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    AutoConfig,
    BertForMaskedLM,
    DebertaV2ForMaskedLM,
    DistilBertForMaskedLM,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    ModernBertForMaskedLM,
    PreTrainedTokenizerFast,
    RobertaForMaskedLM,
)

from app.rlaif.health import Alarm
from app.rlaif.scoring import Reward
from workers.training.contracts import Conversation, Demonstration, PreferencePair, Progress
from workers.training.scoring import Scorer

VOCABULARY = """moon sun tide river stone cloud tree bird fish star wind rain snow leaf root sand wave hill lake fire
please thank you the a is are because very good great short long warm cold bright dark asks tells moves grows falls"""

PAD = "<|pad|>"

# Nothing follows the stop token, so that a whole conversation is the same token sequence for TRL and for us.
PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CHATML_TEMPLATE = PLAIN_TEMPLATE.replace("'<|im_end|>'", "'<|im_end|>\n'")


def sentence(rng: random.Random, low: int, high: int) -> str:
    return " ".join(rng.choices(VOCABULARY.split(), k=rng.randint(low, high)))


def build_tokenizer(template: str, *, pad: str | None = PAD) -> PreTrainedTokenizerFast:
    rng = random.Random(0)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|im_end|>", PAD, "<|im_start|>", "<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((sentence(rng, 4, 12) for _ in range(400)), trainer)
    return PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, eos_token="<|im_end|>", pad_token=pad, chat_template=template
    )


def build_model(directory: Path, *, template: str = CHATML_TEMPLATE, pad: str | None = PAD, hidden: int = 32) -> Path:
    """Write the model to `directory` and return it: 2 layers, of 32 about 40,000 parameters."""
    tokenizer = build_tokenizer(template, pad=pad)
    ends = [tokenizer.convert_tokens_to_ids(token) for token in ("<|im_end|>", "<|endoftext|>")]
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=ends[0],
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.2,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]
        eos_token_id=ends, pad_token_id=tokenizer.pad_token_id
    )
    model.save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


ENCODERS: dict[str, tuple[type[Any], dict[str, Any]]] = {
    "bert": (BertForMaskedLM, {}),
    "deberta-v2": (DebertaV2ForMaskedLM, {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}),
    "distilbert": (DistilBertForMaskedLM, {"n_layers": 2, "n_heads": 4}),
    "modernbert": (ModernBertForMaskedLM, {"global_attn_every_n_layers": 2, "local_attention": 8}),
    "roberta": (RobertaForMaskedLM, {}),
}
ENCODER_MARKS = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "mask_token": "[MASK]"}


def build_encoder(
    directory: Path, kind: str = "bert", *, template: str | None = None, positions: int = 256, hidden: int = 32
) -> Path:
    """Write a random encoder of 2 layers to `directory` and return it."""
    rng = random.Random(0)
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator((sentence(rng, 4, 12) for _ in range(400)), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(mark, tokenizer.token_to_id(mark)) for mark in ("[CLS]", "[SEP]")]
    )
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer, unk_token="[UNK]", chat_template=template, **ENCODER_MARKS
    )
    model_class, settings = ENCODERS[kind]
    config = AutoConfig.for_model(
        kind,
        vocab_size=len(fast),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=positions,
        pad_token_id=fast.pad_token_id,
        cls_token_id=fast.cls_token_id,
        sep_token_id=fast.sep_token_id,
        bos_token_id=None,
        eos_token_id=None,
        **({"dim": hidden, "hidden_dim": 2 * hidden} if kind == "distilbert" else {}),
        **settings,
    )
    torch.manual_seed(0)
    model_class(config).save_pretrained(directory)
    fast.save_pretrained(directory)
    return directory


def make_pairs(count: int, *, seed: int = 0, hard: bool = False) -> list[PreferencePair]:
    """Pairs whose better completion says thanks; labels are soft unless `hard`, where the first is always better."""
    rng = random.Random(seed)
    pairs = []
    for index in range(count):
        polite, rude = sentence(rng, 2, 10) + " thank you", sentence(rng, 3, 14)
        swapped = not hard and rng.random() < 0.5
        probability = 1.0 if hard else rng.choice([0.6, 0.8, 0.95, 1.0])
        pairs.append(
            PreferencePair(
                id=f"pair-{index:04d}",
                prompt=[{"role": "user", "content": sentence(rng, 3, 12)}],
                first=rude if swapped else polite,
                second=polite if swapped else rude,
                probability=1 - probability if swapped else probability,
                weight=1.0 if hard else rng.choice([0.5, 1.0]),
            )
        )
    return pairs


def make_demonstrations(count: int, *, seed: int = 0) -> list[Demonstration]:
    """Answers that say thanks."""
    pairs = make_pairs(count, seed=seed, hard=True)
    return [Demonstration(f"demonstration-{index:04d}", pair.prompt, pair.first) for index, pair in enumerate(pairs)]


def score(
    model_dir: Path, conversations: Sequence[Conversation], *, batch_size: int, progress: Progress
) -> list[float | None]:
    """The reward of each conversation, of an ensemble the mean."""
    found = Scorer(model_dir, batch_size=batch_size)(conversations, progress)
    return [None if members is None else Reward.of(members).value for members in found]


@dataclass
class Recorder:
    """A progress that remembers every report and asks to stop at a poll, or at any after so many reports."""

    stop_at_poll: int | None = None
    stop_after_reports: int | None = None
    steps: list[tuple[int, int, dict[str, float]]] = field(default_factory=list)
    alarms: list[Alarm] = field(default_factory=list)
    polls: int = 0

    def alarm(self, alarm: Alarm) -> None:
        self.alarms.append(alarm)

    def report(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        self.steps.append((step, total, dict(metrics)))

    def should_stop(self) -> bool:
        self.polls += 1
        return self.polls == self.stop_at_poll or len(self.steps) == self.stop_after_reports
