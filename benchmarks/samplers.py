"""Completions drawn from one model directory by our sampler, by `generate`, by continuous batching and by vLLM.

Each reads the model, then draws a little that is not measured, then renders, tokenizes, draws and decodes everything.
Imports torch: import it in a warm process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, ContinuousBatchingConfig, GenerationConfig

from benchmarks.measurement import Meter, Usage
from benchmarks.workload import Sampler, SamplingTask
from workers.sampling.engine import SampleRequest
from workers.sampling.language_model import default_device
from workers.sampling.transformers import TransformersSampler

TEMPERATURE = 1.0
TOP_P = 0.95
CPU_BATCHING = ContinuousBatchingConfig(page_size=32, num_blocks=1024, max_batch_tokens=1024)
"""Left to itself it takes nine tenths of the machine's memory and is slower."""

Draw = Callable[[SamplingTask, int], list[int]]
"""Takes a task and how many rows are decoded at once; gives each completion's tokens, its stop token counted."""


@dataclass(frozen=True, slots=True)
class Drawn:
    completions: int
    tokens: int
    usage: Usage


def measure_sampler(sampler: Sampler, model_dir: Path, task: SamplingTask, batch_size: int) -> Drawn:
    """Seconds are those of drawing, without loading; memory is all that loading and drawing took."""
    meter = Meter()
    draw = LOADERS[sampler](model_dir)
    draw(replace(task, prompts=task.prompts[:1], max_new_tokens=4), batch_size)
    meter.restart()
    counts = draw(task, batch_size)
    return Drawn(len(counts), sum(counts), meter.usage())


class _Quiet:
    """A progress that nobody follows."""

    def report(self, step: int, total: int, metrics: Mapping[str, float]) -> None: ...

    def should_stop(self) -> bool:
        return False


def _ours(model_dir: Path) -> Draw:
    sampler = TransformersSampler(model_dir)

    def draw(task: SamplingTask, batch_size: int) -> list[int]:
        requests = [
            SampleRequest(f"{index}:{place}", messages, seed=index * task.completions + place)
            for index, messages in enumerate(task.prompts)
            for place in range(task.completions)
        ]
        drawn = sampler.sample(
            requests,
            temperature=TEMPERATURE,
            top_p=TOP_P,
            max_new_tokens=task.max_new_tokens,
            batch_size=batch_size,
            progress=_Quiet(),
        )
        return [completion.token_count for completion in drawn]

    return draw


def _generate(model_dir: Path) -> Draw:
    """As its documentation has it: prompts of similar length padded on the left, several answers to each."""
    model, tokenizer = _load(model_dir)
    stops = set(_stops(model))

    def draw(task: SamplingTask, batch_size: int) -> list[int]:
        torch.manual_seed(0)
        config = _generation(model, task, num_return_sequences=task.completions)
        counts: list[int] = []
        texts, at_once = sorted(_rendered(tokenizer, task), key=len), max(1, batch_size // task.completions)
        for start in range(0, len(texts), at_once):
            batch = tokenizer(
                texts[start : start + at_once],
                return_tensors="pt",
                padding=True,
                padding_side="left",
                add_special_tokens=False,
            ).to(model.device)
            output = model.generate(
                batch["input_ids"], attention_mask=batch["attention_mask"], generation_config=config
            )
            answers = output[:, batch["input_ids"].shape[1] :]
            tokenizer.batch_decode(answers, skip_special_tokens=True)
            counts += [_until_stop(row, stops) for row in answers.tolist()]
        return counts

    return draw


def _continuous(model_dir: Path) -> Draw:
    """transformers' `generate_batch`, which has no batch size of rows: it fills a number of tokens a pass."""
    model, tokenizer = _load(model_dir)

    def draw(task: SamplingTask, batch_size: int) -> list[int]:
        prompts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in _rendered(tokenizer, task)]
        answers = model.generate_batch(
            [ids for ids in prompts for _ in range(task.completions)],
            generation_config=_generation(model, task),
            continuous_batching_config=CPU_BATCHING if model.device.type == "cpu" else None,
        ).values()
        tokenizer.batch_decode([answer.generated_tokens for answer in answers], skip_special_tokens=True)
        return [len(answer.generated_tokens) for answer in answers]

    return draw


def _vllm(model_dir: Path) -> Draw:
    from vllm import LLM, SamplingParams  # type: ignore[import-not-found,unused-ignore]

    engine: Any = LLM(model=str(model_dir), dtype="bfloat16", gpu_memory_utilization=0.8)

    def draw(task: SamplingTask, batch_size: int) -> list[int]:
        settings = SamplingParams(
            n=task.completions, temperature=TEMPERATURE, top_p=TOP_P, max_tokens=task.max_new_tokens
        )
        answered = engine.chat([list(messages) for messages in task.prompts], settings, use_tqdm=False)
        return [len(answer.token_ids) for one in answered for answer in one.outputs]

    return draw


LOADERS: Mapping[Sampler, Callable[[Path], Draw]] = {
    Sampler.OURS: _ours,
    Sampler.GENERATE: _generate,
    Sampler.CONTINUOUS: _continuous,
    Sampler.VLLM: _vllm,
}


def _load(model_dir: Path) -> tuple[Any, Any]:
    model: Any = AutoModelForCausalLM.from_pretrained(model_dir, dtype="auto")
    return model.to(default_device()).eval(), AutoTokenizer.from_pretrained(model_dir)


def _rendered(tokenizer: Any, task: SamplingTask) -> list[str]:
    return [
        tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True) for messages in task.prompts
    ]


def _generation(model: Any, task: SamplingTask, **further: int) -> GenerationConfig:
    """`top_k` 0: its default of 50 would be another distribution."""
    return GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=True,
        temperature=TEMPERATURE,
        top_p=TOP_P,
        top_k=0,
        max_new_tokens=task.max_new_tokens,
        eos_token_id=list(_stops(model)),
        pad_token_id=model.generation_config.pad_token_id,
        **further,
    )


def _stops(model: Any) -> Iterable[int]:
    stops: int | Sequence[int] = model.generation_config.eos_token_id
    return [stops] if isinstance(stops, int) else stops


def _until_stop(row: Sequence[int], stops: Collection[int]) -> int:
    """How many tokens up to and with the first stop token; what follows is padding."""
    return next((index + 1 for index, token in enumerate(row) if token in stops), len(row))
