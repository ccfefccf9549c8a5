"""Encoding: one rendering for sampling and training, cut at the stop token, and nothing lost uncounted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.training.tiny import CHATML_TEMPLATE, make_pairs
from workers.sampling.language_model import encode, load_tokenizer, render_prompt, stop_token_ids
from workers.training.contracts import NoTrainingData, PreferencePair, TemplateRewritesPrompt
from workers.training.pairs import EncodedPairs, PairEncoder, encode_answer

MESSAGES = [{"role": "user", "content": "the moon"}]


@pytest.fixture
def tokenizer(model_dir: Path) -> Any:
    return load_tokenizer(model_dir)


@pytest.fixture
def stop_ids(model_dir: Path, tokenizer: Any) -> frozenset[int]:
    return stop_token_ids(model_dir, tokenizer)


def encoder(tokenizer: Any, stop_ids: frozenset[int], *, max_length: int, close: bool = False) -> PairEncoder:
    return PairEncoder(tokenizer, stop_ids, max_length, close_truncated=close)


class TestEncodeAnswer:
    def test_prompt_is_what_sampling_sees(self, tokenizer: Any, stop_ids: frozenset[int]) -> None:
        prompt, _ = encode_answer(tokenizer, stop_ids, MESSAGES, "rises")
        assert prompt == encode(tokenizer, render_prompt(tokenizer, MESSAGES))

    def test_completion_ends_with_its_stop_token_not_with_a_line_break(
        self, tokenizer: Any, stop_ids: frozenset[int]
    ) -> None:
        _, completion = encode_answer(tokenizer, stop_ids, MESSAGES, "rises")
        assert tokenizer.decode(completion) == "rises<|im_end|>"

    def test_a_template_without_stop_token_gets_one(self, tokenizer: Any, stop_ids: frozenset[int]) -> None:
        tokenizer.chat_template = "{% for m in messages %}{{ m['role'] + ':' + m['content'] + ' ' }}{% endfor %}"
        tokenizer.chat_template += "{% if add_generation_prompt %}assistant:{% endif %}"
        _, completion = encode_answer(tokenizer, stop_ids, MESSAGES, "rises")
        assert completion[-1] == tokenizer.eos_token_id
        assert tokenizer.decode(completion[:-1]) == "rises "

    def test_tools_reach_the_template(self, tokenizer: Any, stop_ids: frozenset[int]) -> None:
        tokenizer.chat_template = "{% for tool in tools %}{{ tool['function']['name'] }}{% endfor %}" + CHATML_TEMPLATE
        tools = [{"type": "function", "function": {"name": "tide"}}]
        prompt, _ = encode_answer(tokenizer, stop_ids, MESSAGES, "rises", tools=tools)
        assert tokenizer.decode(prompt).startswith("tide<|im_start|>user")

    def test_a_template_that_rewrites_the_prompt_is_refused(self, tokenizer: Any, stop_ids: frozenset[int]) -> None:
        tokenizer.chat_template = CHATML_TEMPLATE.replace("{% for", "{{ messages | length }}{% for", 1)
        with pytest.raises(TemplateRewritesPrompt, match="only appends the answer"):
            encode_answer(tokenizer, stop_ids, MESSAGES, "rises")


class TestEncodePairs:
    def test_order_is_that_of_the_ids(self, tokenizer: Any, stop_ids: frozenset[int]) -> None:
        pairs = make_pairs(6)
        there = encoder(tokenizer, stop_ids, max_length=200).encode_pairs(pairs)
        assert there == encoder(tokenizer, stop_ids, max_length=200).encode_pairs(pairs[::-1])
        assert [pair.id for pair in there.pairs] == [pair.id for pair in pairs]

    def test_everything_cut_or_left_out_is_counted(self, tokenizer: Any, stop_ids: frozenset[int]) -> None:
        fits = PreferencePair("a-fits", MESSAGES, "rises", "falls", 1.0)
        cut = PreferencePair("b-cut", MESSAGES, "falls " * 30, "rises", 0.8)
        alike = PreferencePair("c-alike", MESSAGES, "moon " * 30 + "sun", "moon " * 30 + "tide", 0.8)
        overlong = PreferencePair("d-long", [{"role": "user", "content": "moon " * 60}], "rises", "falls", 0.8)
        encoded = encoder(tokenizer, stop_ids, max_length=30).encode_pairs([fits, cut, alike, overlong])
        assert [pair.id for pair in encoded.pairs] == ["a-fits", "b-cut"]
        assert (encoded.truncated_pairs, encoded.identical_pairs, encoded.overlong_prompts) == (1, 1, 1)
        assert max(pair.length for pair in encoded.pairs) == 30

    def test_a_cut_completion_keeps_its_start(self, tokenizer: Any, stop_ids: frozenset[int]) -> None:
        pair = PreferencePair("a", MESSAGES, "falls " * 30, "rises", 0.8)
        full = encoder(tokenizer, stop_ids, max_length=200).encode_pairs([pair]).pairs[0]
        cut = encoder(tokenizer, stop_ids, max_length=30).encode_pairs([pair]).pairs[0]
        closed = encoder(tokenizer, stop_ids, max_length=30, close=True).encode_pairs([pair]).pairs[0]
        room = 30 - len(full.prompt)
        assert cut.first == full.first[:room]
        assert closed.first == (*full.first[: room - 1], tokenizer.eos_token_id)
        assert closed.second == cut.second == full.second


class TestSignal:
    def encoded(self, tokenizer: Any, stop_ids: frozenset[int], pairs: list[PreferencePair]) -> EncodedPairs:
        return encoder(tokenizer, stop_ids, max_length=200).encode_pairs(pairs)

    def test_no_pairs(self, tokenizer: Any, stop_ids: frozenset[int]) -> None:
        with pytest.raises(NoTrainingData, match="0 pairs offered"):
            self.encoded(tokenizer, stop_ids, []).require_signal(0)

    def test_all_identical(self, tokenizer: Any, stop_ids: frozenset[int]) -> None:
        pairs = [replace(pair, second=pair.first) for pair in make_pairs(3)]
        with pytest.raises(NoTrainingData, match="3 identical"):
            self.encoded(tokenizer, stop_ids, pairs).require_signal(3)

    def test_all_ties(self, tokenizer: Any, stop_ids: frozenset[int]) -> None:
        pairs = [replace(pair, probability=0.5) for pair in make_pairs(3)]
        with pytest.raises(NoTrainingData, match="all of them ties"):
            self.encoded(tokenizer, stop_ids, pairs).require_signal(3)


class TestPreferencePair:
    @pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
    def test_probability_out_of_range(self, probability: float) -> None:
        with pytest.raises(ValueError, match="pair x: probability"):
            PreferencePair("x", MESSAGES, "a", "b", probability)

    @pytest.mark.parametrize("weight", [-1.0, float("inf"), float("nan")])
    def test_weight_out_of_range(self, weight: float) -> None:
        with pytest.raises(ValueError, match="pair x: weight"):
            PreferencePair("x", MESSAGES, "a", "b", 1.0, weight)
