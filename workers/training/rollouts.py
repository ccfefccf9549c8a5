"""What a policy in training answers, drawn by the run's seeds: the same step draws the same rollouts again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from app.rlaif.seeds import derive_seed
from workers.sampling.decoding import Drawing
from workers.sampling.language_model import LanguageModel, encode, render_prompt
from workers.training.contracts import Messages, NoTrainingData, Tools
from workers.training.loop import epoch_batches
from workers.training.rollout_engines import OwnRollouts, RolloutEngine
from workers.training.shared_prompts import PromptGroup


@dataclass(frozen=True)
class TrainPrompt:
    """A prompt to answer. Its `id` is the author's own: it decides the seeds."""

    id: str
    messages: Messages
    tools: Tools | None = None


@dataclass(frozen=True)
class Rollout:
    """One answer. `ids` holds its stop token where it has one; `finished` says whether it does, `text` is without."""

    prompt: TrainPrompt
    ids: tuple[int, ...]
    text: str
    finished: bool


@dataclass(frozen=True)
class RolloutGroup:
    """All answers to one prompt, and the prompt's token ids."""

    prompt_ids: tuple[int, ...]
    rollouts: tuple[Rollout, ...]

    @property
    def prompt_group(self) -> PromptGroup:
        return PromptGroup(self.prompt_ids, tuple(rollout.ids for rollout in self.rollouts))


@dataclass(frozen=True)
class _Encoded:
    prompt: TrainPrompt
    ids: tuple[int, ...]


class RolloutSource:
    """Draws `completions` answers to each of `prompts_per_step` prompts a step, every prompt once an epoch."""

    def __init__(
        self,
        policy: LanguageModel,
        prompts: Sequence[TrainPrompt],
        *,
        drawing: Drawing,
        completions: int,
        prompts_per_step: int,
        max_length: int,
        seed: int,
        engine: RolloutEngine | None = None,
    ) -> None:
        """Without `engine` the policy decodes by itself. Prompts that leave no room for an answer are left out, and
        counted. Raises `NoTrainingData`.
        """
        self._policy = policy
        self._engine = engine or OwnRollouts(policy)
        self._drawing = drawing
        self._completions = completions
        self._prompts_per_step = prompts_per_step
        self._seed = seed
        room = max_length - drawing.max_new_tokens
        encoded = [_Encoded(prompt, _ids(policy, prompt)) for prompt in sorted(prompts, key=lambda each: each.id)]
        self._items = [item for item in encoded if len(item.ids) <= room]
        self.overlong_prompts = len(encoded) - len(self._items)
        if not self._items:
            reason = f"none of whose prompts leaves {drawing.max_new_tokens} of {max_length} tokens for an answer"
            raise NoTrainingData(len(prompts), reason)
        self._epoch: tuple[int, list[list[int]]] = (-1, [])

    @property
    def prompts(self) -> int:
        return len(self._items)

    def fingerprint(self, settings: dict[str, Any]) -> str:
        """SHA-256 over what decides a training's course: its settings and its prompts."""
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
        for item in self._items:
            digest.update(repr((item.prompt.id, item.ids)).encode())
        return digest.hexdigest()

    def probes(self) -> list[PromptGroup]:
        """A few prompts, each followed by its own beginning: something to compare two models on."""
        return [PromptGroup(item.ids, (item.ids[:32],)) for item in self._items[:8]]

    def draw(self, step: int, *, at_once: int, should_stop: Callable[[], bool]) -> list[RolloutGroup] | None:
        """The groups of one step, `at_once` of them decoded together; None when asked to stop."""
        items = self._items_of(step)
        self._engine.refresh(self._policy)
        groups: list[RolloutGroup] = []
        for start in range(0, len(items), at_once):
            block = items[start : start + at_once]
            drawn = self._engine.decode(
                [item.ids for item in block for _ in range(self._completions)],
                [seed for item in block for seed in self._seeds(item, step)],
                drawing=self._drawing,
                should_stop=should_stop,
            )
            if drawn is None:
                return None
            groups += self._groups(block, drawn)
        return groups

    def _groups(self, items: Sequence[_Encoded], drawn: Sequence[list[int]]) -> Iterator[RolloutGroup]:
        for index, item in enumerate(items):
            answers = drawn[index * self._completions : (index + 1) * self._completions]
            yield RolloutGroup(item.ids, tuple(self._rollout(item.prompt, ids) for ids in answers))

    def _rollout(self, prompt: TrainPrompt, ids: Sequence[int]) -> Rollout:
        text = self._policy.tokenizer.decode(ids, skip_special_tokens=True)
        return Rollout(prompt, tuple(ids), text, finished=ids[-1] in self._policy.stop_ids)

    def _seeds(self, item: _Encoded, step: int) -> Iterator[int]:
        return (derive_seed(self._seed, "rollout", step, item.prompt.id, place) for place in range(self._completions))

    def _items_of(self, step: int) -> list[_Encoded]:
        """Prompts of similar length stand together; the last step of an epoch may hold fewer."""
        per_epoch = -(-len(self._items) // self._prompts_per_step)
        epoch, within = divmod(step, per_epoch)
        if self._epoch[0] != epoch:
            lengths = [len(item.ids) for item in self._items]
            self._epoch = epoch, epoch_batches(lengths, self._prompts_per_step, seed=self._seed, epoch=epoch)
        return [self._items[index] for index in self._epoch[1][within]]


def _ids(policy: LanguageModel, prompt: TrainPrompt) -> tuple[int, ...]:
    return tuple(encode(policy.tokenizer, render_prompt(policy.tokenizer, prompt.messages, tools=prompt.tools)))
