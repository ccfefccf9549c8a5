"""What trainings and samplers are measured on: model shapes, and prompts and preference pairs of chosen lengths.

Imports no torch. Every word is one token, so lengths are exactly what is asked for.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from workers.training.contracts import PreferencePair

PROMPT_FRAME = 5  # tokens that the template puts around a question; a completion has one, its stop token


@dataclass(frozen=True, slots=True)
class Shape:
    """A Llama with tied embeddings; `sharpness` scales its logits, so that a random one is as sure as a trained one."""

    name: str
    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    window: int = 1024
    sharpness: float = 1.0


TINY = Shape("tiny", 256, 32, 64, 2, 2, 1)  # does it run, not how fast
EXAMPLES = Shape("examples", 2048, 144, 384, 4, 4, 2)  # the base model in examples/, 1.2 M
TEN_MILLION = Shape("10m", 8192, 320, 864, 6, 5, 5)  # 28 % of it embeddings, as in a model of half a billion
HALF_BILLION = Shape("0.5b", 151_936, 896, 4864, 24, 14, 2, window=4096)  # that of Qwen2.5-0.5B
SEVEN_BILLION = Shape("7b", 32_000, 4096, 11_008, 32, 32, 32, window=4096)  # that of Llama 2 7B


@dataclass(frozen=True, slots=True)
class Lengths:
    """Mean tokens of a prompt and of a completion, template and stop token included; each is drawn within ±50 %."""

    name: str
    prompt: int
    completion: int


@dataclass(frozen=True, slots=True)
class Workload:
    """One epoch over `pairs` pairs, `batch_size` a step; `lora`: of low-rank adapters instead of the whole model."""

    shape: Shape
    lengths: Lengths
    pairs: int
    batch_size: int
    lora: bool = False

    @property
    def name(self) -> str:
        return f"{self.lengths.name}_{self.shape.name}{'_lora' if self.lora else ''}"


class Sampler(StrEnum):
    OURS = "ours"
    GENERATE = "generate"
    CONTINUOUS = "continuous"
    VLLM = "vllm"


@dataclass(frozen=True, slots=True)
class SamplingTask:
    """`completions` answers to each of `prompts`, at temperature 1 and top_p 0.95."""

    name: str
    prompts: Sequence[list[dict[str, str]]]
    completions: int
    max_new_tokens: int
    batch_sizes: tuple[int, ...]


# One layer: what the forked process touches first (libraries, kernels) is touched before anything is measured.
WARM_UP = Workload(Shape("warm-up", 64, 32, 64, 1, 2, 1), Lengths("short", 12, 6), pairs=4, batch_size=4)


def words(vocabulary: int) -> list[str]:
    return [f"w{index}" for index in range(vocabulary)]


def preference_pairs(workload: Workload, *, seed: int = 0) -> list[PreferencePair]:
    """Hard labels, the first is the better one, with ids in the order of the list."""
    rng, lengths = random.Random(seed), workload.lengths
    known = words(workload.shape.vocabulary - 16)
    pairs = []
    for index in range(workload.pairs):
        messages = _question(rng, known, lengths.prompt)
        first, second = (" ".join(rng.choices(known, k=_drawn(rng, lengths.completion) - 1)) for _ in range(2))
        pairs.append(PreferencePair(id=f"{index:06d}", prompt=messages, first=first, second=second, probability=1.0))
    return pairs


def questions(shape: Shape, *, count: int, tokens: int, seed: int = 0) -> list[list[dict[str, str]]]:
    """Conversations of one message; `tokens` is the mean of their rendered prompts."""
    rng, known = random.Random(seed), words(shape.vocabulary - 16)
    return [_question(rng, known, tokens) for _ in range(count)]


def _question(rng: random.Random, known: list[str], tokens: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": " ".join(rng.choices(known, k=_drawn(rng, tokens) - PROMPT_FRAME))}]


def _drawn(rng: random.Random, mean: int) -> int:
    return rng.randint(mean // 2, mean + mean // 2)
