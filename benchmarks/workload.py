"""What the trainings of `benchmarks.training` work on: model shapes, and preference pairs of chosen lengths.

Imports no torch. Every word is one token, so lengths are exactly what is asked for.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from workers.training.contracts import PreferencePair

PROMPT_FRAME = 5  # tokens that the template puts around a question; a completion has one, its stop token


@dataclass(frozen=True, slots=True)
class Shape:
    """A Llama with tied embeddings."""

    name: str
    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    window: int = 1024


@dataclass(frozen=True, slots=True)
class Lengths:
    """Mean tokens of a prompt and of a completion, template and stop token included; each is drawn within ±50 %."""

    name: str
    prompt: int
    completion: int


@dataclass(frozen=True, slots=True)
class Workload:
    """One epoch over `pairs` pairs, `batch_size` a step."""

    shape: Shape
    lengths: Lengths
    pairs: int
    batch_size: int


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
        prompt = " ".join(rng.choices(known, k=_drawn(rng, lengths.prompt) - PROMPT_FRAME))
        first, second = (" ".join(rng.choices(known, k=_drawn(rng, lengths.completion) - 1)) for _ in range(2))
        messages = [{"role": "user", "content": prompt}]
        pairs.append(PreferencePair(id=f"{index:06d}", prompt=messages, first=first, second=second, probability=1.0))
    return pairs


def _drawn(rng: random.Random, mean: int) -> int:
    return rng.randint(mean // 2, mean + mean // 2)
