"""Option log-probabilities, as a local judge reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from workers.sampling.language_model import LanguageModel
from workers.sampling.scoring import OptionNotOneToken, next_token_logprobs

PROMPTS = ["the moon is", "yes", "short and cold wind moves very", "no"]


def test_equals_a_plain_forward_pass(model_dir: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    answers = next_token_logprobs(LanguageModel.load(model_dir), PROMPTS, ["A", "B"], batch_size=3)
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([tokenizer(prompt, add_special_tokens=False)["input_ids"]])).logits
        expected = torch.log_softmax(logits[0, -1], dim=-1)
        assert answer == pytest.approx(
            {option: float(expected[tokenizer.convert_tokens_to_ids(option)]) for option in "AB"}, abs=1e-5
        )


def test_an_option_of_several_tokens_is_refused(model_dir: Path) -> None:
    with pytest.raises(OptionNotOneToken, match="'Qz' is 2 tokens"):
        next_token_logprobs(LanguageModel.load(model_dir), PROMPTS, ["A", "Qz"])
