"""What a reward model makes of texts: conversations as it reads them, and their rewards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from workers.sampling.engine import Progress
from workers.sampling.language_model import window_of
from workers.training.checkpoint import ScalarModel, load_scalar_model
from workers.training.contracts import Conversation, TrainingStopped
from workers.training.optimiser import autocast
from workers.training.pairs import encode_answer, pad_right
from workers.training.shared_prompts import Packing, PromptGroup


class Scorer:
    """A published reward model, loaded once; it scores as many batches of conversations as it is given."""

    def __init__(self, model_dir: Path, *, batch_size: int) -> None:
        self._reward_model = load_scalar_model(model_dir)
        self._window = window_of(self._reward_model.model)
        self._batch_size = batch_size

    def __call__(self, conversations: Sequence[Conversation], progress: Progress) -> list[tuple[float, ...] | None]:
        """Every member's reward of each conversation, in the given order: one of a model that is no ensemble.

        None for a conversation beyond the model's window, as nothing is cut. Raises `TrainingStopped` between batches,
        `TemplateRewritesPrompt`, `TemplateRefusesPrompt`.
        """
        groups = [encode_conversation(self._reward_model, conversation) for conversation in conversations]
        fitting = [i for i, group in enumerate(groups) if self._window is None or group.longest <= self._window]
        order = sorted(fitting, key=lambda index: groups[index].longest)
        found: list[tuple[float, ...] | None] = [None] * len(groups)
        for start in range(0, len(order), self._batch_size):
            if progress.should_stop():
                raise TrainingStopped(start, len(order))
            rows = order[start : start + self._batch_size]
            with torch.inference_mode(), autocast(self._reward_model.model.device):
                values = member_rewards(self._reward_model, [groups[row] for row in rows])
            for row, column in zip(rows, values.T.tolist(), strict=True):
                found[row] = tuple(column)
            progress.report(start + len(rows), len(order), {})
        return found


def encode_conversation(reward_model: ScalarModel, conversation: Conversation) -> PromptGroup:
    """A prompt and its one completion as the model reads them.

    Raises `TemplateRewritesPrompt`, `TemplateRefusesPrompt`.
    """
    prompt, completion = encode_answer(
        reward_model.tokenizer,
        reward_model.stop_ids,
        conversation.prompt,
        conversation.completion,
        tools=conversation.tools,
        opening=reward_model.opening,
    )
    return PromptGroup(prompt, (completion,))


def rewards(reward_model: ScalarModel, groups: Sequence[PromptGroup]) -> torch.Tensor:
    """Scalar rewards (completions,) in the order of the groups: of an ensemble the means over its members."""
    return member_rewards(reward_model, groups).mean(dim=0)


def member_rewards(reward_model: ScalarModel, groups: Sequence[PromptGroup]) -> torch.Tensor:
    """Scalar rewards (members, completions): a causal model's are read on each completion's last token."""
    return torch.stack([_own_rewards(each, groups) for each in (reward_model, *reward_model.members)])


def _own_rewards(reward_model: ScalarModel, groups: Sequence[PromptGroup]) -> torch.Tensor:
    model = reward_model.model
    if reward_model.shares_prompts:
        packing = Packing.of(groups, device=model.device)
        hidden = model.base_model(**packing.inputs()).last_hidden_state[0]
        logits = model.score(hidden.index_select(0, packing.last))
    else:
        rows = [[*group.prompt, *completion] for group in groups for completion in group.completions]
        ids, mask = pad_right(rows, reward_model.tokenizer.pad_token_id)
        uncached = {} if reward_model.opening else {"use_cache": False}  # an encoder has no cache
        logits = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device), **uncached).logits
    values: torch.Tensor = logits.squeeze(-1).float()
    return values
