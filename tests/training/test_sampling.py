"""The sampler: a completion is its seed's, whatever it shared a batch with."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.training.tiny import Recorder, build_model, sentence
from workers.sampling.engine import FinishReason, PromptTooLong, SampledCompletion, SampleRequest, SamplingStopped
from workers.sampling.language_model import LanguageModel, NoChatTemplate, stop_token_ids
from workers.sampling.nucleus import choose, seed_keys
from workers.sampling.transformers import TransformersSampler


@pytest.fixture(scope="module")
def sampler(model_dir: Path) -> TransformersSampler:
    return TransformersSampler(model_dir)


def make_requests(count: int) -> list[SampleRequest]:
    """Requests whose prompts differ in length, several to a prompt."""
    rng = random.Random(3)
    prompts = [[{"role": "user", "content": sentence(rng, 1, 20)}] for _ in range(count // 4)]
    return [SampleRequest(f"unit-{i}", prompts[i % len(prompts)], seed=1000 + i) for i in range(count)]


def draw(
    sampler: TransformersSampler, requests: Sequence[SampleRequest], *, batch_size: int, temperature: float = 1.0
) -> dict[str, SampledCompletion]:
    drawn = sampler.sample(
        requests,
        temperature=temperature,
        top_p=0.95,
        max_new_tokens=40,
        batch_size=batch_size,
        progress=Recorder(),
    )
    return {completion.key: completion for completion in drawn}


class TestSeeds:
    def test_batch_size_and_order_change_nothing(self, sampler: TransformersSampler) -> None:
        requests = make_requests(240)
        expected = draw(sampler, requests, batch_size=128)
        assert sum(completion.token_count for completion in expected.values()) > 5_000
        assert draw(sampler, requests[::-1], batch_size=7) == expected

    def test_a_unit_alone_is_the_unit_in_a_batch(self, sampler: TransformersSampler) -> None:
        requests = make_requests(24)
        together = draw(sampler, requests, batch_size=24)
        for request in requests[::5]:
            assert draw(sampler, [request], batch_size=1) == {request.key: together[request.key]}

    def test_other_seeds_give_other_completions(self, sampler: TransformersSampler) -> None:
        messages = [{"role": "user", "content": "the moon"}]
        requests = [SampleRequest(str(seed), messages, seed=seed) for seed in range(20)]
        assert len({completion.text for completion in draw(sampler, requests, batch_size=20).values()}) > 15


class TestGreedy:
    def test_equals_generate(self, sampler: TransformersSampler, model_dir: Path) -> None:
        model: Any = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32)
        tokenizer: Any = AutoTokenizer.from_pretrained(model_dir)
        requests = make_requests(12)
        drawn = draw(sampler, requests, batch_size=5, temperature=0)
        for request in requests:
            text = tokenizer.apply_chat_template(request.messages, tokenize=False, add_generation_prompt=True)
            ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
            output = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=40, do_sample=False)
            answer = output[0, ids.shape[1] :]
            completion = drawn[request.key]
            assert completion.token_count == len(answer)
            assert completion.prompt_token_count == ids.shape[1]
            assert completion.text == tokenizer.decode(answer, skip_special_tokens=True)


class TestStopping:
    def test_every_configured_end_is_a_stop_token(self, model_dir: Path) -> None:
        tokenizer = AutoTokenizer.from_pretrained(model_dir)
        ends = {tokenizer.convert_tokens_to_ids("<|im_end|>"), tokenizer.convert_tokens_to_ids("<|endoftext|>")}
        assert stop_token_ids(model_dir, tokenizer) == ends

    def test_finish_reasons(self, sampler: TransformersSampler) -> None:
        completions = draw(sampler, make_requests(200), batch_size=100).values()
        reasons = {completion.finish_reason for completion in completions}
        assert reasons == {FinishReason.STOP, FinishReason.LENGTH}
        for completion in completions:
            assert "<|" not in completion.text
            assert (completion.token_count == 40) or completion.finish_reason is FinishReason.STOP

    @pytest.mark.parametrize("progress", [Recorder(stop_after_reports=1), Recorder(stop_at_poll=50)])
    def test_a_stop_drops_the_batch_at_hand_and_the_rest_can_follow(
        self, sampler: TransformersSampler, progress: Recorder
    ) -> None:
        requests = make_requests(24)
        drawn: dict[str, SampledCompletion] = {}
        stream = sampler.sample(
            requests,
            temperature=1.0,
            top_p=0.95,
            max_new_tokens=40,
            batch_size=8,
            progress=progress,
        )
        with pytest.raises(SamplingStopped, match="after 8 of 24"):
            drawn.update((completion.key, completion) for completion in stream)
        rest = [request for request in requests if request.key not in drawn]
        assert drawn | draw(sampler, rest, batch_size=8) == draw(sampler, requests, batch_size=24)

    def test_progress_counts_completions(self, sampler: TransformersSampler) -> None:
        progress = Recorder()
        stream = sampler.sample(
            make_requests(20), temperature=1.0, top_p=1.0, max_new_tokens=4, batch_size=8, progress=progress
        )
        assert len(list(stream)) == 20
        assert [(step, total) for step, total, _ in progress.steps] == [(8, 20), (16, 20), (20, 20)]
        assert progress.steps[-1][2]["completions_per_second"] > 0


def keys_of(seeds: Sequence[int]) -> torch.Tensor:
    return seed_keys(seeds, device=torch.device("cpu"))


class TestChoose:
    LOGITS = torch.log(torch.tensor([0.1, 0.5, 0.06, 0.3, 0.04]))

    def frequencies(self, *, temperature: float, top_p: float, count: int = 200_000) -> list[float]:
        """Of so many seeds that follow one another; the standard error of each is at most 0.0012."""
        keys, logits = keys_of(range(count)), self.LOGITS.expand(count, -1)
        chosen = choose(logits, keys, 3, temperature=temperature, top_p=top_p).tokens
        return (torch.bincount(chosen, minlength=5) / count).tolist()

    def test_without_cut_the_model_distribution(self) -> None:
        assert self.frequencies(temperature=1, top_p=1) == pytest.approx([0.1, 0.5, 0.06, 0.3, 0.04], abs=5e-3)

    def test_the_nucleus_is_the_smallest_set_that_reaches_top_p(self) -> None:
        expected = [0.1 / 0.9, 0.5 / 0.9, 0, 0.3 / 0.9, 0]
        found = self.frequencies(temperature=1, top_p=0.85)
        assert found == pytest.approx(expected, abs=5e-3)
        assert (found[2], found[4]) == (0, 0)

    def test_temperature_sharpens(self) -> None:
        squares = [0.01, 0.25, 0.0036, 0.09, 0.0016]
        expected = [value / sum(squares) for value in squares]
        assert self.frequencies(temperature=0.5, top_p=1) == pytest.approx(expected, abs=5e-3)

    def test_positions_of_a_seed_are_independent(self) -> None:
        """How often two neighbouring positions draw the same token is what chance makes it."""
        keys, logits = keys_of(range(100_000)), self.LOGITS.expand(100_000, -1)
        drawn = [choose(logits, keys, position, temperature=1, top_p=1).tokens for position in range(2)]
        assert (drawn[0] == drawn[1]).double().mean().item() == pytest.approx(0.3552, abs=6e-3)

    def test_a_wide_nucleus_goes_beyond_the_shortlist(self) -> None:
        """Of 300 tokens, each a little less likely than the one before, exactly the first of them may be drawn."""
        logits = -torch.arange(300) * 4e-3
        before = (torch.softmax(logits.double(), dim=-1).cumsum(dim=-1) - torch.softmax(logits.double(), dim=-1)) < 0.9
        keys, rows = keys_of(range(5000)), logits.expand(5000, -1)
        chosen = torch.cat([choose(rows, keys, position, temperature=1, top_p=0.9).tokens for position in range(6)])
        assert sorted(set(chosen.tolist())) == list(range(int(before.sum())))

    @pytest.mark.parametrize("top_p", [1.0, 0.95, 0.5])
    @pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
    @pytest.mark.parametrize("scale", [0.5, 2.0])
    def test_noise_decides_nothing_unnoticed(self, temperature: float, top_p: float, scale: float) -> None:
        """What batches do to logits, twenty times a row: a choice that is not doubtful is the choice without noise."""
        generator = torch.Generator().manual_seed(0)
        logits = (scale * torch.randn(300, 500, generator=generator)).repeat(20, 1)
        noisy = logits + 4e-6 * (2 * torch.rand(logits.shape, generator=generator) - 1)
        keys = keys_of([index % 300 for index in range(len(logits))])
        clean = choose(logits, keys, 0, temperature=temperature, top_p=top_p)
        moved = choose(noisy, keys, 0, temperature=temperature, top_p=top_p)
        assert not ((clean.tokens != moved.tokens) & ~moved.doubtful).any()
        assert moved.doubtful.float().mean() < 0.01

    def test_noise_at_the_border_of_the_nucleus_is_noticed(self) -> None:
        """Two tied tokens at the border: one is in and the other out, and rounding says which."""
        probabilities = torch.tensor([0.3, 0.05, 0.3, 0.05, 0.3])
        clean = torch.log(probabilities).expand(2000, -1)
        moved = torch.log(probabilities + torch.tensor([0, -1e-8, 0, 1e-8, 0])).expand(2000, -1)
        keys = keys_of(range(2000))
        first, second = (choose(logits, keys, 0, temperature=1, top_p=0.93) for logits in (clean, moved))
        at_border = torch.isin(first.tokens, torch.tensor([1, 3]))
        assert at_border.float().mean() == pytest.approx(0.1, abs=0.03)
        assert torch.equal(first.doubtful, at_border)
        assert not ((first.tokens != second.tokens) & ~first.doubtful).any()

    def test_zero_temperature_takes_the_likeliest(self) -> None:
        assert choose(self.LOGITS[None], keys_of([1]), 0, temperature=0, top_p=0.5).tokens.tolist() == [1]


class TestWindow:
    def test_a_prompt_whose_answer_could_exceed_it_is_refused_before_anything_is_drawn(
        self, sampler: TransformersSampler
    ) -> None:
        short, *_ = make_requests(4)
        (fits,) = draw(sampler, [short], batch_size=1).values()
        filler = [{"role": "user", "content": "the moon " * 150}]
        progress = Recorder()
        stream = sampler.sample(
            [short, SampleRequest("long", filler, seed=1)],
            temperature=1.0,
            top_p=1.0,
            max_new_tokens=40,
            batch_size=1,
            progress=progress,
        )
        with pytest.raises(PromptTooLong, match=r"completion long has .* window of 256"):
            next(stream)
        assert progress.polls == 0
        last = 256 - fits.prompt_token_count
        assert self.first(sampler, short, max_new_tokens=last).key == short.key
        with pytest.raises(PromptTooLong, match=f"max_new_tokens {last + 1}"):
            self.first(sampler, short, max_new_tokens=last + 1)

    @staticmethod
    def first(sampler: TransformersSampler, request: SampleRequest, *, max_new_tokens: int) -> SampledCompletion:
        return next(
            sampler.sample(
                [request],
                temperature=1.0,
                top_p=1.0,
                max_new_tokens=max_new_tokens,
                batch_size=1,
                progress=Recorder(),
            )
        )


class TestLoading:
    def test_without_a_chat_template(self, tmp_path: Path) -> None:
        directory = build_model(tmp_path / "bare")
        (directory / "chat_template.jinja").unlink()
        with pytest.raises(NoChatTemplate, match=r"bare.*chat_template\.jinja"):
            LanguageModel.load(directory)
