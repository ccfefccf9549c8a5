"""What a language model makes of a capability task: how likely it finds a text, and what it writes itself.

Texts are cut into tokens as lm_eval cuts them (lm_eval/api/model.py, models/huggingface.py, 0.4.13), so that the same
model scores the same here and there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from app.rlaif.task_scoring import Likelihood, cut_at_stops
from workers.sampling.decoding import Drawing, decode
from workers.sampling.language_model import LanguageModel, pad_left, render_prompt

DEFAULT_WINDOW = 2048
"""Of a model that states no limit, as in lm_eval."""

_LOGITS_AT_ONCE = 2**26
_UNUSED_SEED = 0  # a greedy token is drawn by no number


@dataclass(frozen=True, slots=True)
class Continuation:
    """A text behind a context; in a chat the context is a rendered prompt, whose special tokens are in it already."""

    context: str
    text: str
    chat: bool


class WindowTooSmall(Exception):
    """Raised when a text to score, or an answer to write, leaves no room for a context in the model's window."""

    def __init__(self, tokens: int, *, window: int) -> None:
        super().__init__(
            f"{tokens} tokens leave no room for a question in the model's window of {window}: shorten the choices or "
            "targets, or lower max_gen_toks"
        )


def chat_context(language_model: LanguageModel, system: str, context: str) -> str:
    """One user message behind the description, up to where the assistant answers."""
    messages = [{"role": "system", "content": system}] if system else []
    return render_prompt(language_model.tokenizer, [*messages, {"role": "user", "content": context}])


@torch.inference_mode()
def likelihoods(
    language_model: LanguageModel,
    continuations: Sequence[Continuation],
    *,
    batch_size: int,
    should_stop: Callable[[], bool],
) -> list[Likelihood] | None:
    """Of each continuation; None when asked to stop, before any batch. Raises WindowTooSmall.

    A context that is too long loses its beginning. Continuations of which all but the last token is the same share one
    row: single-letter choices cost one pass.
    """
    rows: dict[tuple[int, ...], list[tuple[int, list[int]]]] = {}
    for place, each in enumerate(continuations):
        read, scored = _tokens(language_model, each)
        rows.setdefault(read, []).append((place, scored))
    found: dict[int, Likelihood] = {}
    for batch in _batches(rows, language_model, batch_size):
        if should_stop():
            return None
        found |= _score(language_model, [(read, rows[read]) for read in batch])
    return [found[place] for place in range(len(continuations))]


def written(
    language_model: LanguageModel,
    prompts: Sequence[tuple[str, bool]],
    *,
    until: Sequence[str],
    max_new_tokens: int,
    should_stop: Callable[[], bool],
) -> list[str] | None:
    """Greedy answers to (context, whether it is a chat's), up to the first of `until`; None when asked to stop.

    Raises WindowTooSmall.
    """
    window = language_model.window or DEFAULT_WINDOW
    if max_new_tokens >= window:
        raise WindowTooSmall(max_new_tokens, window=window)
    ids = [_encode(language_model, text, chat=chat)[-(window - max_new_tokens) :] for text, chat in prompts]
    exact = language_model.model.dtype is torch.float32
    drawing = Drawing(0.0, 1.0, max_new_tokens, exact=exact, until=tuple(until))
    seeds = [_UNUSED_SEED] * len(ids)
    drawn = decode(language_model, ids, seeds, drawing=drawing, should_stop=should_stop)
    if drawn is None:
        return None
    texts = (language_model.tokenizer.decode(row, skip_special_tokens=True) for row in drawn)
    return [cut_at_stops(text, until) for text in texts]


def _tokens(language_model: LanguageModel, each: Continuation) -> tuple[tuple[int, ...], list[int]]:
    """What the model reads, which is all but the last token, and the tokens that it is to predict at its end."""
    context, text = each.context, each.text
    if context:
        kept = context.rstrip()
        text, context = context[len(kept) :] + text, kept
    if context:
        whole = _encode(language_model, context + text, chat=each.chat)
        scored = whole[len(_encode(language_model, context, chat=each.chat)) :]
    else:
        scored = _encode(language_model, text, chat=True)
        begin = _first_token(language_model)
        whole = scored if scored[:1] == [begin] else [begin, *scored]
        scored = whole[1:]
    window = language_model.window or DEFAULT_WINDOW
    if not 0 < len(scored) < window:
        raise WindowTooSmall(len(scored), window=window)
    return tuple(whole[-(window + 1) : -1]), scored


def _encode(language_model: LanguageModel, text: str, *, chat: bool) -> list[int]:
    """With the tokenizer's own special tokens, unless the text brings its own."""
    tokenizer = language_model.tokenizer
    brings_own = chat or text.startswith(tokenizer.decode(_first_token(language_model)))
    ids: list[int] = tokenizer(text, add_special_tokens=not brings_own)["input_ids"]
    return ids


def _first_token(language_model: LanguageModel) -> int:
    """What stands before a text without a context."""
    tokenizer = language_model.tokenizer
    named = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    return min(language_model.stop_ids) if named is None else int(named)


def _batches(
    rows: dict[tuple[int, ...], list[tuple[int, list[int]]]], language_model: LanguageModel, batch_size: int
) -> Iterator[list[tuple[int, ...]]]:
    """Rows of like length, longest first, so that memory runs out at once or not at all."""
    vocabulary = int(language_model.model.config.get_text_config().vocab_size)
    batch: list[tuple[int, ...]] = []
    longest = 0
    for row in sorted(rows, key=lambda read: (-len(read), read)):
        scored = max(len(tokens) for _, tokens in rows[row])
        wider = max(longest, scored)
        if batch and (len(batch) == batch_size or (len(batch) + 1) * wider * vocabulary > _LOGITS_AT_ONCE):
            yield batch
            batch, wider = [], scored
        batch.append(row)
        longest = wider
    if batch:
        yield batch


def _score(
    language_model: LanguageModel, batch: Sequence[tuple[tuple[int, ...], list[tuple[int, list[int]]]]]
) -> dict[int, Likelihood]:
    longest = max(len(scored) for _, wanted in batch for _, scored in wanted)
    ids, mask = pad_left([read for read, _ in batch], device=language_model.device)
    positions = (mask.cumsum(dim=-1) - 1).clamp_(min=0)
    logits = language_model.model(
        input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=longest
    ).logits.float()
    normalisers, best = logits.logsumexp(dim=-1), logits.argmax(dim=-1)
    found = {}
    for row, (_, wanted) in enumerate(batch):
        for place, scored in wanted:
            targets = torch.tensor(scored, device=language_model.device)
            values = (
                logits[row, -len(scored) :].gather(1, targets[:, None]).squeeze(1) - normalisers[row, -len(scored) :]
            )
            greedy = bool((best[row, -len(scored) :] == targets).all())
            found[place] = Likelihood(float(values.sum()), greedy)
    return found
