"""Build `base_model/`: a tiny chat model whose answers are legible but of mixed quality.

It trains its own tokenizer and a small Llama on the text of `corpus.py`. It must never see a held-out question.
"""

import argparse
import math
import os
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from corpus import Exchange, exchanges, load_topics
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

END_OF_TEXT, TURN_START, TURN_END, PAD = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>"
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
VOCABULARY = 2048
CONTEXT = 1024
IGNORED = -100


@dataclass(frozen=True)
class Example:
    """Token ids of one exchange; the labels of everything before the answer are `IGNORED`."""

    ids: list[int]
    labels: list[int]


def build_tokenizer(texts: Iterator[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer that can spell any text, with the chat template inside."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END_OF_TEXT, TURN_START, TURN_END, PAD],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    core.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # unannotated upstream
        tokenizer_object=core,
        bos_token=END_OF_TEXT,
        eos_token=TURN_END,
        pad_token=PAD,
        extra_special_tokens=[TURN_START],
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def build_model(tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A fresh Llama of about 1.2 million parameters with tied embeddings."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=144,
        intermediate_size=384,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        initializer_range=0.05,
        dtype="float32",
    )
    model = LlamaForCausalLM(config)
    model.generation_config = GenerationConfig(  # type: ignore[no-untyped-call]  # unannotated upstream
        do_sample=True,
        temperature=1.0,
        top_p=0.95,
        bos_token_id=tokenizer.bos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=[tokenizer.convert_tokens_to_ids(token) for token in (TURN_END, TURN_START, END_OF_TEXT)],
    )
    return model


def encode(tokenizer: PreTrainedTokenizerFast, exchange: Exchange) -> Example:
    """Tokens of the whole chat, with labels on the assistant's turn only."""
    chat = exchange.messages
    prompt = _ids(tokenizer, chat[:-1], generation=True)
    ids = _ids(tokenizer, chat, generation=False)
    return Example(ids, [IGNORED] * len(prompt) + ids[len(prompt) :])


def batches(examples: list[Example], size: int, rng: random.Random) -> list[list[Example]]:
    """Shuffled batches of similar length, so that little is padding."""
    ordered = sorted(examples, key=lambda example: (len(example.ids), rng.random()))
    groups = [ordered[start : start + size] for start in range(0, len(ordered), size)]
    rng.shuffle(groups)
    return groups


def collate(batch: list[Example], pad: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Right-padded ids and labels, both of shape (batch, longest)."""
    width = max(len(example.ids) for example in batch)
    ids = [example.ids + [pad] * (width - len(example.ids)) for example in batch]
    labels = [example.labels + [IGNORED] * (width - len(example.labels)) for example in batch]
    return torch.tensor(ids), torch.tensor(labels)


def train(model: LlamaForCausalLM, groups: list[list[Example]], pad: int, peak: float) -> None:
    """AdamW with a short warm-up and a cosine down to a twentieth of `peak`; prints loss and time left."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.01)
    warmup = min(50, len(groups))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1.0, (step + 1) / warmup) * (0.05 + 0.475 * (1 + math.cos(math.pi * step / len(groups)))),
    )
    began, mean = time.monotonic(), 0.0
    for step, group in enumerate(groups, start=1):
        ids, labels = collate(group, pad)
        loss = model(input_ids=ids, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        mean = loss.item() if step == 1 else 0.95 * mean + 0.05 * loss.item()
        if step % 25 == 0 or step == len(groups):
            spent = time.monotonic() - began
            left = spent / step * (len(groups) - step)
            print(f"step {step}/{len(groups)}  loss {mean:.3f}  {spent:.0f} s spent, {left:.0f} s left", flush=True)


def _ids(tokenizer: PreTrainedTokenizerFast, chat: list[dict[str, str]], *, generation: bool) -> list[int]:
    text = tokenizer.apply_chat_template(chat, add_generation_prompt=generation, tokenize=False)
    return list(tokenizer.encode(str(text), add_special_tokens=False))


def arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="Train the example base model from scratch on the CPU: about four minutes on two cores. "
        "The corpus is written by corpus.py from topics.jsonl; nothing is downloaded.",
        epilog="Example: python examples/build_base_model.py --out /tmp/base_model --steps 400  (rougher, faster)",
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "base_model", help="folder to write")
    parser.add_argument("--steps", type=int, default=1100, help="optimizer steps; below 400 the text is broken")
    parser.add_argument("--batch-size", type=int, default=32, help="exchanges in one step")
    parser.add_argument("--learning-rate", type=float, default=4e-3, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=7, help="seed of the corpus, the weights and the order")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads for torch")
    return parser.parse_args(argv)


def main(argv: list[str]) -> None:
    options = arguments(argv)
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    chats = list(exchanges(load_topics(), options.steps * options.batch_size, options.seed))
    texts = (message["content"] for chat in chats[:20_000] for message in chat.messages)
    tokenizer = build_tokenizer(texts)
    model = build_model(tokenizer)
    print(f"{len(tokenizer)} tokens in the vocabulary, {model.num_parameters():,} parameters")
    groups = batches([encode(tokenizer, chat) for chat in chats], options.batch_size, random.Random(options.seed))
    train(model, groups, tokenizer.pad_token_id, options.learning_rate)
    model.save_pretrained(options.out)
    tokenizer.save_pretrained(options.out, save_jinja_files=False)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main(sys.argv[1:])
