"""Next-token log-probabilities of given answers: what a local judge reads instead of generating a verdict."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from workers.sampling.language_model import LanguageModel, encode, pad_left


class OptionNotOneToken(Exception):
    """Raised when an option is not exactly one token, so one forward pass cannot give its probability."""

    def __init__(self, option: str, tokens: Sequence[str]) -> None:
        super().__init__(
            f"option {option!r} is {len(tokens)} tokens {list(tokens)!r} for this tokenizer; "
            "choose an answer that is one token, such as a single letter"
        )
        self.option = option


def option_token_ids(tokenizer: object, options: Sequence[str]) -> list[int]:
    """The one token id of each option; raises `OptionNotOneToken`."""
    encoded = [encode(tokenizer, option) for option in options]
    for option, ids in zip(options, encoded, strict=True):
        if len(ids) != 1:
            raise OptionNotOneToken(option, tokenizer.convert_ids_to_tokens(ids))  # type: ignore[attr-defined]
    return [ids[0] for ids in encoded]


@torch.inference_mode()
def next_token_logprobs(
    language_model: LanguageModel, prompts: Sequence[str], options: Sequence[str], *, batch_size: int = 32
) -> list[dict[str, float]]:
    """For each rendered prompt, the natural log-probability of each option as its next token, over the vocabulary.

    The options' probabilities need not sum to one. Raises `OptionNotOneToken`.
    """
    chosen = torch.tensor(option_token_ids(language_model.tokenizer, options), device=language_model.device)
    encoded = [encode(language_model.tokenizer, prompt) for prompt in prompts]
    order = sorted(range(len(encoded)), key=lambda index: len(encoded[index]))
    answers: dict[int, dict[str, float]] = {}
    for start in range(0, len(order), batch_size):
        rows = order[start : start + batch_size]
        logprobs = _last_logprobs(language_model, [encoded[row] for row in rows])[:, chosen]
        for row, values in zip(rows, logprobs.tolist(), strict=True):
            answers[row] = dict(zip(options, values, strict=True))
    return [answers[index] for index in range(len(encoded))]


def _last_logprobs(language_model: LanguageModel, sequences: Sequence[Sequence[int]]) -> torch.Tensor:
    """Log-probabilities (rows, vocabulary) in float64 of the token after each sequence."""
    ids, mask = pad_left(sequences, device=language_model.device)
    positions = (mask.cumsum(dim=-1) - 1).clamp_(min=0)
    output = language_model.model(
        input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=1
    )
    return torch.log_softmax(output.logits[:, -1].double(), dim=-1)
