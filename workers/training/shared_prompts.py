"""Completions that share a prompt, run through a causal model with every prompt computed once, and exactly.

All tokens of a batch lie in one row without padding, so embeddings, projections and feed-forward layers see each token
once. Attention alone works on padded rows: prompts look back over themselves, completions over [prompt | completion].
Nothing is approximated: a model whose attention does more than look back over its row is left as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward

_ATTENTION = "shared_prompts"  # without a packing it is plain `sdpa`
# fmt: off
_PLAIN_CAUSAL = frozenset({
    "apertus", "arcee", "cohere", "ernie4_5", "gemma", "glm", "glm4", "gpt2", "gpt_bigcode", "gpt_neox", "granite",
    "granitemoe", "helium", "hunyuan_v1_dense", "llama", "ministral3", "mistral", "mixtral", "olmo", "olmo2", "opt",
    "persimmon", "phi", "phi3", "qwen2", "qwen2_moe", "qwen3", "qwen3_moe", "seed_oss", "smollm3", "starcoder2",
})
# fmt: on
_TOLERANCE = 1e-4  # relative error of a hidden state; in float32 it is about 1e-6


@dataclass(frozen=True)
class PromptGroup:
    """Token ids of a prompt and of the completions that follow it, each of at least one token."""

    prompt: Sequence[int]
    completions: Sequence[Sequence[int]]

    @property
    def longest(self) -> int:
        """Tokens of the prompt and its longest completion."""
        return len(self.prompt) + max(map(len, self.completions))


@dataclass(frozen=True)
class PaddedRows:
    """Tokens laid out in rows of one width: `tokens` (rows * width,) names the token at each place, 0 in the padding.

    `homes` says where each token lies, once for every row that it is in: some tokens, none of them twice, and their
    places (rows * width). The first covers all tokens that are laid out.
    """

    tokens: torch.Tensor
    width: int
    homes: tuple[tuple[slice | torch.Tensor, torch.Tensor], ...]

    @classmethod
    def of(cls, lengths: torch.Tensor, *, start: int) -> PaddedRows:
        """Consecutive tokens from `start`, one row after the other."""
        width = int(lengths.max())
        place = torch.arange(width)
        filled = place < lengths[:, None]
        tokens = torch.where(filled, start + (lengths.cumsum(0) - lengths)[:, None] + place, 0)
        span = slice(start, start + int(lengths.sum()))
        return cls(tokens.flatten(), width, ((span, filled.flatten().nonzero()[:, 0]),))

    def to(self, device: torch.device) -> PaddedRows:
        homes = tuple(
            (tokens if isinstance(tokens, slice) else tokens.to(device), places.to(device))
            for tokens, places in self.homes
        )
        return PaddedRows(self.tokens.to(device), self.width, homes)


def spread(states: torch.Tensor, *layouts: PaddedRows) -> tuple[torch.Tensor, ...]:
    """(1, heads, tokens, size) to (rows, heads, width, size) for each layout."""
    _, heads, tokens, size = states.shape
    flat = states[0].transpose(0, 1).reshape(tokens, heads * size)
    parts: tuple[torch.Tensor, ...] = _Spread.apply(flat, *layouts)  # type: ignore[no-untyped-call]
    return tuple(
        part.view(-1, layout.width, heads, size).transpose(1, 2) for part, layout in zip(parts, layouts, strict=True)
    )


def collect(*parts: tuple[torch.Tensor, PaddedRows]) -> torch.Tensor:
    """States (rows, width, heads, size) of layouts that share no token, to (1, tokens, heads, size)."""
    heads, size = parts[0][0].shape[2:]
    states = [part.reshape(-1, heads * size) for part, _ in parts]
    tokens: torch.Tensor = _Collect.apply(tuple(layout for _, layout in parts), *states)  # type: ignore[no-untyped-call]
    return tokens.view(1, -1, heads, size)


class _Spread(torch.autograd.Function):
    """Tokens to places. The gradient gathers too: no sum is left to the order in which threads come."""

    @staticmethod
    def forward(ctx: Any, tokens: torch.Tensor, *layouts: PaddedRows) -> tuple[torch.Tensor, ...]:
        ctx.layouts, ctx.shape = layouts, tokens.shape
        return tuple(tokens.index_select(0, layout.tokens) for layout in layouts)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        total = gradients[0].new_zeros(ctx.shape)
        for layout, gradient in zip(ctx.layouts, gradients, strict=True):
            for tokens, places in layout.homes:
                total[tokens] += gradient.index_select(0, places)
        return total, *(None for _ in ctx.layouts)


class _Collect(torch.autograd.Function):
    """Places to tokens, each from its first home."""

    @staticmethod
    def forward(ctx: Any, layouts: Sequence[PaddedRows], *parts: torch.Tensor) -> torch.Tensor:
        ctx.layouts = layouts
        return torch.cat(
            [part.index_select(0, layout.homes[0][1]) for part, layout in zip(parts, layouts, strict=True)]
        )

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        parts = []
        for layout in ctx.layouts:
            tokens, home = layout.homes[0]
            places = gradient.new_zeros(len(layout.tokens), gradient.shape[1])
            parts.append(places.index_copy_(0, home, gradient[tokens]))
        return None, *parts


@dataclass(frozen=True)
class Packing:
    """Where the tokens of some groups lie: first all prompts, each once, then all completions in order.

    `ids` and `positions` are (1, tokens). `prompts` and `completions` lay out each part by itself, `contexts` every
    completion behind its prompt; `visible` (completions, 1, completion width, context width) is what each token of a
    completion looks back at. `before` (completion tokens,) is the token that predicts each of `targets`, `last`
    (completions,) the one that each completion ends with.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    prompts: PaddedRows
    completions: PaddedRows
    contexts: PaddedRows
    visible: torch.Tensor
    before: torch.Tensor
    targets: torch.Tensor
    last: torch.Tensor

    @classmethod
    def of(cls, groups: Sequence[PromptGroup], *, device: torch.device) -> Packing:
        completions = [completion for group in groups for completion in group.completions]
        owner = torch.tensor([index for index, group in enumerate(groups) for _ in group.completions])
        turn = torch.tensor([turn for group in groups for turn in range(len(group.completions))])
        p, c = (torch.tensor([len(part) for part in parts]) for parts in ([g.prompt for g in groups], completions))
        ids = torch.tensor([token for part in (*(g.prompt for g in groups), *completions) for token in part])
        prompt_tokens = int(p.sum())
        contexts = _contexts(p, c, owner, turn)
        positions = torch.arange(contexts.width).expand(len(c), -1).flatten()[contexts.homes[0][1]]
        before = torch.arange(prompt_tokens, len(ids)) - 1
        before[c.cumsum(0) - c] = (p.cumsum(0) - 1)[owner]
        looking, seen = torch.arange(int(c.max())), torch.arange(contexts.width)
        visible = seen <= (p[owner, None] + looking)[:, None, :, None]
        return cls(
            ids=ids[None].to(device),
            positions=positions[None].to(device),
            prompts=PaddedRows.of(p, start=0).to(device),
            completions=PaddedRows.of(c, start=prompt_tokens).to(device),
            contexts=contexts.to(device),
            visible=visible.to(device),
            before=before.to(device),
            targets=ids[prompt_tokens:].to(device),
            last=(prompt_tokens - 1 + c.cumsum(0)).to(device),
        )

    def inputs(self) -> dict[str, Any]:
        """What the model is called with. The mask is a stand-in: a 4D one is handed to the attention as it is."""
        stand_in = torch.empty(1, 1, 0, 0, device=self.ids.device)
        return {
            "input_ids": self.ids,
            "position_ids": self.positions,
            "attention_mask": stand_in,
            "use_cache": False,
            "packing": self,
        }

    def per_completion(self, values: torch.Tensor) -> torch.Tensor:
        """Sums (completions,) of values (completion tokens,)."""
        return self.rows(values).sum(dim=1)

    def rows(self, values: torch.Tensor) -> torch.Tensor:
        """Values (completion tokens,) as (completions, longest), 0 behind a completion's end."""
        placed = values.new_zeros(len(self.completions.tokens))
        return placed.index_copy(0, self.completions.homes[0][1], values).view(-1, self.completions.width)


def _contexts(p: torch.Tensor, c: torch.Tensor, owner: torch.Tensor, turn: torch.Tensor) -> PaddedRows:
    """Every completion behind its prompt; the first completion's row is home to the prompt."""
    width = int((p[owner] + c).max())
    place = torch.arange(width)
    in_prompt, filled = place < p[owner, None], place < (p[owner] + c)[:, None]
    of_prompt = (p.cumsum(0) - p)[owner, None] + place
    of_completion = (p.sum() + c.cumsum(0) - c - p[owner])[:, None] + place
    tokens = torch.where(filled, torch.where(in_prompt, of_prompt, of_completion), 0).flatten()
    first = (filled & ((turn == 0)[:, None] | ~in_prompt)).flatten().nonzero()[:, 0]
    home = torch.empty_like(first)
    home[tokens[first]] = first
    again = [(in_prompt & (turn == k)[:, None]).flatten().nonzero()[:, 0] for k in range(1, int(turn.max()) + 1)]
    return PaddedRows(tokens, width, ((slice(0, len(home)), home), *((tokens[places], places) for places in again)))


def _attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    packing: Packing | None = None,
    **settings: Any,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Causal attention (1, tokens, heads, size) within each row; what padding computes is read by nothing."""
    if packing is None:
        return sdpa_attention_forward(module, query, key, value, attention_mask, **settings)
    prompts, completions, contexts = packing.prompts, packing.completions, packing.contexts
    over_itself, looking = spread(query, prompts, completions)
    (prompt_keys, keys), (prompt_values, values) = (spread(states, prompts, contexts) for states in (key, value))
    of_prompts, _ = sdpa_attention_forward(module, over_itself, prompt_keys, prompt_values, None, **settings)
    of_completions, _ = sdpa_attention_forward(module, looking, keys, values, packing.visible, **settings)
    return collect((of_prompts, prompts), (of_completions, completions)), None


AttentionInterface.register(_ATTENTION, _attend)


def share_prompts(model: Any) -> bool:
    """Make the model take a packing's `inputs`; False where it cannot, and the model is as it was.

    It must be of a family known to attend to all that came before and configured so; then the hidden states of a small
    batch are compared with those of plain rows, which finds what the configuration does not tell.
    """
    before: str = model.config._attn_implementation
    if before not in ("sdpa", _ATTENTION) or not _looks_back_only(model.config):
        return False
    model.set_attn_implementation(_ATTENTION)
    if not _agrees(model):
        model.set_attn_implementation(before)
        return False
    return True


def _looks_back_only(config: Any) -> bool:
    """Whether every layer attends to all that came before, whatever the length."""
    kinds, window = getattr(config, "layer_types", None), getattr(config, "sliding_window", None)
    unlimited = set(kinds) == {"full_attention"} if kinds else not window
    return config.model_type in _PLAIN_CAUSAL and unlimited


@torch.no_grad()
def _agrees(model: Any) -> bool:
    """Whether packed hidden states are those of plain rows, on prompts and completions of several lengths."""
    groups = [PromptGroup([3, 1, 4, 1, 5], [[2, 6, 5, 3], [5, 0]]), PromptGroup([2, 7], [[1, 0, 2], [0, 4, 5, 2, 3]])]
    packing = Packing.of(groups, device=model.device)
    packed = model.base_model(**packing.inputs()).last_hidden_state[0]
    rows = [torch.tensor([[*group.prompt, *each]]) for group in groups for each in group.completions]
    plain = [_hidden_states(model, row.to(model.device)) for row in rows]
    asked = [len(group.prompt) for group in groups for _ in group.completions]
    expected = torch.cat([states[start:] for states, start in zip(plain, asked, strict=True)])
    found = packed[-len(expected) :]
    return bool(((found - expected).norm(dim=-1) <= _TOLERANCE * expected.norm(dim=-1)).all())


def _hidden_states(model: Any, row: torch.Tensor) -> torch.Tensor:
    states: torch.Tensor = model.base_model(input_ids=row, attention_mask=torch.ones_like(row), use_cache=False)[0]
    return states[0]
