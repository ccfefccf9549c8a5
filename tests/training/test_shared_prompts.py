"""Shared prompts: the numbers of plain rows for every family that takes them, plain rows for every other."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from tests.training.tiny import build_model
from workers.sampling.language_model import load_tokenizer
from workers.training.checkpoint import ScalarModel, load_policy
from workers.training.completion_logprobs import CompletionScorer
from workers.training.scoring import rewards
from workers.training.shared_prompts import _PLAIN_CAUSAL, Packing, PromptGroup, share_prompts

SMALL: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 128,
    "sliding_window": None,
    "pad_token_id": 0,
    "bos_token_id": None,
    "eos_token_id": 1,
    "initializer_range": 0.2,
    "init_std": 0.2,
    "num_local_experts": 4,
    "num_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
}


def tiny(family: str, **settings: Any) -> Any:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SMALL | settings)
    return AutoModelForCausalLM.from_config(config).eval()  # type: ignore[no-untyped-call]


def some_groups(*, completions: tuple[int, ...] = (2, 2, 2), seed: int = 0) -> list[PromptGroup]:
    rng = random.Random(seed)

    def tokens(low: int, high: int) -> list[int]:
        return [rng.randrange(2, 64) for _ in range(rng.randint(low, high))]

    return [PromptGroup(tokens(1, 20), [tokens(1, 15) for _ in range(count)]) for count in completions]


def by_hand(model: Any, groups: list[PromptGroup]) -> torch.Tensor:
    """Each sequence by itself, without padding, through the whole model."""
    sums = []
    for group in groups:
        for completion in group.completions:
            ids = torch.tensor([[*group.prompt, *completion]])
            logprobs = (
                model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits[0].log_softmax(-1)
            )
            at = torch.arange(len(group.prompt), ids.shape[1])
            sums.append(logprobs[at - 1, ids[0, at]].sum())
    return torch.stack(sums)


def gradient(model: Any, sums: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    (sums * torch.arange(1, len(sums) + 1)).sum().backward()  # type: ignore[no-untyped-call]
    return {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}


def assert_same(model: Any, groups: list[PromptGroup]) -> None:
    scorer = CompletionScorer(model)
    expected, found = by_hand(model, groups), scorer.sums(groups)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)
    plain, packed = gradient(model, by_hand(model, groups)), gradient(model, scorer.sums(groups))
    assert plain.keys() == packed.keys()
    largest = max(float(value.abs().max()) for value in plain.values())
    for name, value in plain.items():
        torch.testing.assert_close(packed[name], value, rtol=1e-3, atol=1e-5 * largest, msg=name)


class TestFamilies:
    @pytest.mark.parametrize("family", sorted(_PLAIN_CAUSAL))
    def test_equals_plain_rows(self, family: str) -> None:
        model = tiny(family)
        assert share_prompts(model)
        assert_same(model, some_groups())

    @pytest.mark.parametrize(
        ("family", "settings"),
        [
            ("mistral", {"sliding_window": 8}),
            ("qwen2", {"sliding_window": 8, "use_sliding_window": True, "max_window_layers": 1}),
            ("qwen3", {"sliding_window": 8, "use_sliding_window": True, "max_window_layers": 1}),
            ("gemma2", {"sliding_window": 8}),
            ("gemma3_text", {"sliding_window": 8}),
            ("bloom", {}),
            ("mamba", {}),
        ],
    )
    def test_windows_alibi_and_states_get_plain_rows(self, family: str, settings: dict[str, Any]) -> None:
        model = tiny(family, **settings)
        implementation = model.config._attn_implementation
        assert not CompletionScorer(model).shares_prompts
        assert model.config._attn_implementation == implementation
        assert_same(model, some_groups())

    def test_what_the_configuration_hides_is_found_by_the_numbers(self) -> None:
        """A layer that mixes neighbours in the row, as a convolution or a recurrence does."""
        model = tiny("llama")
        model.model.layers[1].mlp.register_forward_hook(lambda _m, _i, out: out + 0.1 * out.roll(1, dims=1))
        assert not CompletionScorer(model).shares_prompts
        assert model.config._attn_implementation == "sdpa"


class TestRewards:
    @pytest.mark.parametrize(("family", "window", "shared"), [("llama", None, True), ("mistral", 8, False)])
    def test_each_is_read_on_the_last_token(
        self, family: str, window: int | None, shared: bool, model_dir: Path
    ) -> None:
        torch.manual_seed(0)
        config = AutoConfig.for_model(family, **SMALL | {"sliding_window": window, "num_labels": 1})
        model: Any = AutoModelForSequenceClassification.from_config(config).eval()  # type: ignore[no-untyped-call]
        tokenizer = load_tokenizer(model_dir)
        scalar = ScalarModel(model, tokenizer, frozenset({1}), shares_prompts=share_prompts(model))
        assert (scalar.shares_prompts, model.config.pad_token_id) == (shared, 0)
        groups = some_groups()
        rows = [torch.tensor([[*group.prompt, *each]]) for group in groups for each in group.completions]
        expected = torch.cat([model.score(model.model(row).last_hidden_state[0, -1]) for row in rows])
        tokenizer.pad_token_id = 0
        torch.testing.assert_close(rewards(scalar, groups), expected, rtol=1e-4, atol=1e-5)


class TestPacking:
    @pytest.mark.parametrize("completions", [(1,), (1, 3, 2), (4, 4)])
    def test_any_number_of_completions(self, completions: tuple[int, ...]) -> None:
        model = tiny("llama")
        assert share_prompts(model)
        assert_same(model, some_groups(completions=completions))

    def test_every_token_once(self) -> None:
        groups = some_groups()
        packing = Packing.of(groups, device=torch.device("cpu"))
        tokens = sum(len(group.prompt) + sum(map(len, group.completions)) for group in groups)
        assert packing.ids.shape == packing.positions.shape == (1, tokens)
        rows = packing.ids[0][packing.contexts.tokens].view(-1, packing.contexts.width)
        sequences = [[*group.prompt, *completion] for group in groups for completion in group.completions]
        assert [row[: len(each)].tolist() for row, each in zip(rows, sequences, strict=True)] == sequences

    def test_twice_the_same_bits(self) -> None:
        model, groups = tiny("llama"), some_groups()
        scorer = CompletionScorer(model)
        first, second = (gradient(model, scorer.sums(groups)) for _ in range(2))
        assert all(torch.equal(first[name], second[name]) for name in first)


class TestHead:
    def test_in_parts_it_gives_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        model, groups = tiny("llama"), some_groups()
        whole = gradient(model, CompletionScorer(model).sums(groups))
        monkeypatch.setattr("workers.training.completion_logprobs._LOGITS_AT_ONCE", 64 * 7)
        parts = gradient(model, CompletionScorer(model).sums(groups))
        for name, value in whole.items():
            torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-5)

    def test_scaled_logits(self) -> None:
        model = tiny("cohere", logit_scale=0.5)
        assert share_prompts(model)
        assert_same(model, some_groups())


class TestSaved:
    def test_the_configuration_on_disk_does_not_tell(self, tmp_path: Path) -> None:
        base = build_model(tmp_path / "base")
        model = load_policy(base).model
        assert CompletionScorer(model).shares_prompts
        model.save_pretrained(tmp_path / "out")
        before, after = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("base", "out"))
        assert after == before
