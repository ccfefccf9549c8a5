"""Whether prompts leave room for an answer: in the model's window, and in the tokens that training reads of a pair.

Looked at before anything is sampled, judged or paid for. A prompt beyond the window is left out and counted, since a
model that is asked it anyway answers with garbage; where no prompt at all fits, the run is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.db.models import Split
from app.repositories.prompts import PromptRow
from app.rlaif.recipe import Recipe, StageKind
from workers.stages.contract import StageContext, StageRefused
from workers.stages.inputs import StageInputs, all_prompts
from workers.stages.tokens import Tokenizer

NAMED = 5
"""How many of the prompts that were left out are named in the metrics."""


@dataclass(frozen=True, slots=True)
class Limit:
    """The longest prompt, in tokens, that `setting` leaves room for; `remedy` is how to change that."""

    setting: str
    longest: int
    remedy: str


class Room:
    """Measures a shard's prompts as the model is asked them; `sampled` where the model is to answer them now."""

    def __init__(self, context: StageContext, inputs: StageInputs, tokenizer: Tokenizer, *, sampled: bool) -> None:
        self._context = context
        self._inputs = inputs
        self._tokenizer = tokenizer
        self._split = Split(context.work.payload["split"])
        recipe = context.work.recipe
        self._window = _window_limit(tokenizer, recipe) if sampled else None
        self._training = _training_limits(tokenizer, recipe) if self._split is Split.TRAIN else []
        self._tokens: dict[str, int] = {}

    def tokens(self, prompt: PromptRow) -> int:
        """Of a prompt that was admitted."""
        return self._tokens[prompt.external_id]

    def admit(self, prompts: Sequence[PromptRow]) -> list[PromptRow]:
        """Those that fit into the window. Raises StageRefused for one that the chat template does not render."""
        self._tokens |= {prompt.external_id: self._tokenizer.count_prompt(prompt) for prompt in prompts}
        return [prompt for prompt in prompts if self._window is None or self.tokens(prompt) <= self._window.longest]

    def metrics(self) -> dict[str, Any]:
        """How many prompts were too long for what, over all that were seen. Raises StageRefused where none can fit."""
        limits = [*self._training, *([self._window] if self._window else [])]
        for limit in limits:
            self._require(limit)
        counts: dict[str, Any] = {}
        if self._window:
            counts |= _counted("prompts_too_long", self._beyond(self._window))
        if self._training:
            tightest = min(self._training, key=lambda limit: limit.longest)
            counts |= _counted("overlong_prompts", self._beyond(tightest))
        return counts

    def _beyond(self, limit: Limit) -> list[str]:
        return [id_ for id_, tokens in self._tokens.items() if tokens > limit.longest]

    def _require(self, limit: Limit) -> None:
        """One prompt that fits is enough to go on, wherever in the split it is."""
        if len(self._beyond(limit)) < len(self._tokens):
            return
        sizes: list[tuple[int, str]] = []
        for tokens, id_ in self._sizes():
            if tokens <= limit.longest:
                return
            sizes.append((tokens, id_))
        shortest, longest = min(sizes), max(sizes)
        raise StageRefused(
            "no_room",
            f"{limit.setting} leaves {max(limit.longest, 0)} tokens for a prompt, and none of the {len(sizes)} "
            f"{self._split} prompts is that short: the shortest, {shortest[1]!r}, has {shortest[0]} and the longest, "
            f"{longest[1]!r}, has {longest[0]}; {limit.remedy}",
        )

    def _sizes(self) -> Iterator[tuple[int, str]]:
        for prompts in all_prompts(self._context, self._inputs.run.prompt_set_id, split=self._split):
            for prompt in prompts:
                yield self._tokenizer.count_prompt(prompt), prompt.external_id


def _window_limit(tokenizer: Tokenizer, recipe: Recipe) -> Limit | None:
    """What an answer leaves of the model's window; None for a model that names no window."""
    if tokenizer.window is None:
        return None
    answer = recipe.sample.max_new_tokens
    setting = f"the model's window of {tokenizer.window} tokens, less sample.max_new_tokens {answer},"
    return Limit(setting, tokenizer.window - answer, "lower sample.max_new_tokens or shorten the prompts")


def _training_limits(tokenizer: Tokenizer, recipe: Recipe) -> list[Limit]:
    """What the stages to come leave of their max_length, or of the window, beside one token of an answer."""
    lengths = {
        StageKind.WARM_START: recipe.warm_start.max_length if recipe.warm_start else 0,
        StageKind.PREFER: recipe.prefer.max_length,
        StageKind.REWARD_MODEL: recipe.reward_model.max_length,
        StageKind.POLICY: recipe.policy.max_length,
    }
    return [
        Limit(
            f"{kind}.max_length {length}",
            min(length, tokenizer.window or length) - 1,
            f"raise {kind}.max_length (the model's window is {tokenizer.window or 'unknown'}) or shorten the prompts",
        )
        for kind, length in lengths.items()
        if kind in recipe.stages()
    ]


def _counted(name: str, ids: Sequence[str]) -> dict[str, Any]:
    """How many, and the first of them by their author's ids. A shard without any does not hide another's."""
    return {name: len(ids)} | ({f"{name}_ids": list(ids[:NAMED])} if ids else {})
