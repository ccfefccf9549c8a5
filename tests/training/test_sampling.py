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
from workers.sampling.nucleus import choose, seeded_uniforms
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

    def test_uniforms_are_philox(self) -> None:
        assert seeded_uniforms(5, 3).tolist() == seeded_uniforms(5, 10).tolist()[:3]
        assert seeded_uniforms(2**63 - 1, 1).tolist() != seeded_uniforms(0, 1).tolist()


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


class TestChoose:
    LOGITS = torch.log(torch.tensor([0.1, 0.5, 0.06, 0.3, 0.04]))

    def frequencies(self, *, temperature: float, top_p: float, count: int = 10_000) -> list[float]:
        uniforms = (torch.arange(count, dtype=torch.float64) + 0.5) / count
        chosen = choose(self.LOGITS.expand(count, -1), uniforms, temperature=temperature, top_p=top_p).tokens
        return (torch.bincount(chosen, minlength=5) / count).tolist()

    def test_without_cut_the_model_distribution(self) -> None:
        assert self.frequencies(temperature=1, top_p=1) == pytest.approx([0.1, 0.5, 0.06, 0.3, 0.04], abs=2e-4)

    def test_the_nucleus_is_the_smallest_set_that_reaches_top_p(self) -> None:
        expected = [0.1 / 0.9, 0.5 / 0.9, 0, 0.3 / 0.9, 0]
        assert self.frequencies(temperature=1, top_p=0.85) == pytest.approx(expected, abs=2e-4)

    def test_temperature_sharpens(self) -> None:
        squares = [0.01, 0.25, 0.0036, 0.09, 0.0016]
        expected = [value / sum(squares) for value in squares]
        assert self.frequencies(temperature=0.5, top_p=1) == pytest.approx(expected, abs=2e-4)

    def test_a_wide_nucleus_sorts_everything(self) -> None:
        """With 1,000 equal tokens the shortlist holds too little: exactly nine tenths of them may be drawn."""
        logits = torch.zeros(1, 1000)
        logits[0] -= torch.arange(1000) * 1e-9
        uniforms = torch.linspace(0, 0.9999, 5000, dtype=torch.float64)
        chosen = choose(logits.double().expand(5000, -1), uniforms, temperature=1, top_p=0.9).tokens
        assert sorted(set(chosen.tolist())) == list(range(900))

    @pytest.mark.parametrize("top_p", [1.0, 0.95, 0.5])
    @pytest.mark.parametrize("temperature", [1.0, 0.7, 0.0])
    @pytest.mark.parametrize("scale", [0.5, 2.0])
    def test_noise_decides_nothing_unnoticed(self, temperature: float, top_p: float, scale: float) -> None:
        """What batches do to logits, twenty times a row: a choice that is not doubtful is the choice without noise."""
        generator = torch.Generator().manual_seed(0)
        logits = (scale * torch.randn(300, 500, generator=generator)).repeat(20, 1)
        noisy = logits + 4e-6 * (2 * torch.rand(logits.shape, generator=generator) - 1)
        uniforms = torch.rand(300, generator=generator, dtype=torch.float64).repeat(20)
        clean = choose(logits, uniforms, temperature=temperature, top_p=top_p)
        moved = choose(noisy, uniforms, temperature=temperature, top_p=top_p)
        assert not ((clean.tokens != moved.tokens) & ~moved.doubtful).any()
        assert moved.doubtful.float().mean() < 0.05

    def test_noise_at_the_border_of_the_nucleus_is_noticed(self) -> None:
        """Two tied tokens at the border: which of them is in changes where every later token begins."""
        probabilities = torch.tensor([0.3, 0.05, 0.3, 0.05, 0.3])
        uniforms = torch.full((2,), 0.64, dtype=torch.float64)
        logits = torch.log(torch.stack([probabilities, probabilities + torch.tensor([0, -1e-8, 0, 1e-8, 0])]))
        choice = choose(logits, uniforms, temperature=1, top_p=0.93)
        assert choice.tokens[0] != choice.tokens[1]
        assert choice.doubtful.tolist() == [True, True]

    def test_zero_temperature_takes_the_likeliest(self) -> None:
        assert choose(self.LOGITS[None], torch.tensor([0.99]), temperature=0, top_p=0.5).tokens.tolist() == [1]


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
