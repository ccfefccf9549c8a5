"""Our sampler measured against transformers' own ways to draw, and vLLM where it is: `make bench-sampling`.

Every sampler draws the same number of answers to the same prompts from the same model, in a process of its own that
has imported everything. Ratios are taken within one repetition, whose samplers follow one another in alternating order.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from benchmarks.figures import Figure, conclude, show
from benchmarks.measurement import build, cuda_is_available, warm_processes
from benchmarks.samplers import Drawn, measure_sampler
from benchmarks.workload import (
    HALF_BILLION,
    SEVEN_BILLION,
    TEN_MILLION,
    TINY,
    Sampler,
    SamplingTask,
    Shape,
    questions,
)

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
SHAPES = {"cpu": ("examples", "10m"), "cuda": ("0.5b", "7b")}
RANDOM = {"tiny": TINY, "10m": TEN_MILLION, "0.5b": HALF_BILLION, "7b": SEVEN_BILLION}
SHARPNESS = 2.0


@dataclass(frozen=True, order=True, slots=True)
class Setting:
    """A sampler and the rows that it decodes at once; none where it decides that itself."""

    sampler: Sampler
    batch_size: int | None


@dataclass(frozen=True, slots=True)
class Result:
    """One task: what every setting drew and took, by repetition."""

    task: SamplingTask
    drawn: Mapping[Setting, Sequence[Drawn]]

    def rates(self, setting: Setting) -> list[float]:
        """Tokens a second of all cores, or elapsed on CUDA; one value a repetition."""
        return [each.tokens / each.usage.seconds for each in self.drawn[setting]]

    def best(self, sampler: Sampler) -> Setting:
        """The setting of a sampler with the highest median rate."""
        return max((each for each in self.drawn if each.sampler is sampler), key=lambda each: median(self.rates(each)))

    def ratios(self, setting: Setting) -> list[float]:
        """Our rate over the setting's: ours at the same batch size, and our best where it has none."""
        own = Setting(Sampler.OURS, setting.batch_size)
        ours = self.rates(own if own in self.drawn else self.best(Sampler.OURS))
        return [mine / theirs for mine, theirs in zip(ours, self.rates(setting), strict=True)]

    def best_ratios(self, sampler: Sampler) -> list[float]:
        """Our best setting's rate over another sampler's best."""
        ours, theirs = self.rates(self.best(Sampler.OURS)), self.rates(self.best(sampler))
        return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--shapes", nargs="+", choices=("examples", *RANDOM), help="tiny: does it run, not how fast")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    asked = parser.parse_args()
    if asked.device == "cuda" and not cuda_is_available():
        print("skipped: torch finds no CUDA device here; run without --device cuda, or where nvidia-smi lists one")
        return 2
    samplers = samplers_on(asked.device)
    results = []
    with (
        tempfile.TemporaryDirectory() as scratch,
        warm_processes(threads=asked.threads, device=asked.device, imports=["benchmarks.samplers"]) as processes,
    ):
        for name in asked.shapes or SHAPES[asked.device]:
            task, model_dir = task_of(name), EXAMPLES / "base_model"
            if shape := RANDOM.get(name):
                model_dir, dtype = Path(scratch) / name, "bfloat16" if asked.device == "cuda" else "float32"
                processes.submit(build, replace(shape, sharpness=SHARPNESS), model_dir, dtype).result()
            results.append(compare(processes, task, model_dir, samplers, repetitions=asked.repetitions))
            show_result(results[-1], device=asked.device)
    return conclude([figure for result in results for figure in figures(result, device=asked.device)])


def samplers_on(device: str) -> list[Sampler]:
    samplers = [Sampler.OURS, Sampler.GENERATE, Sampler.CONTINUOUS]
    if device == "cuda" and find_spec("vllm"):
        return [*samplers, Sampler.VLLM]
    print(f"skipped {Sampler.VLLM}: {'vllm is not installed' if device == 'cuda' else 'it is measured on CUDA'}")
    return samplers


def task_of(name: str) -> SamplingTask:
    if name == "examples":
        rows = (EXAMPLES / "prompts.jsonl").read_text(encoding="utf-8").splitlines()[::5]
        prompts = [json.loads(row)["messages"] for row in rows][:64]
        return SamplingTask(name, prompts, completions=8, max_new_tokens=80, batch_sizes=(64, 128, 256))
    shape = RANDOM[name]
    if shape is TINY:
        return _random_task(shape, prompts=2, prompt=12, completion=8, batch_sizes=(8, 16))
    if shape is TEN_MILLION:
        return _random_task(shape, prompts=32, prompt=64, completion=64, batch_sizes=(64, 128, 256))
    return _random_task(shape, prompts=64, prompt=256, completion=256, batch_sizes=(128, 256))


def _random_task(
    shape: Shape, *, prompts: int, prompt: int, completion: int, batch_sizes: tuple[int, ...]
) -> SamplingTask:
    asked = questions(shape, count=prompts, tokens=prompt)
    return SamplingTask(shape.name, asked, completions=8, max_new_tokens=completion, batch_sizes=batch_sizes)


def compare(
    processes: Executor, task: SamplingTask, model_dir: Path, samplers: Sequence[Sampler], *, repetitions: int
) -> Result:
    """Every setting once a repetition, one after the other, forwards and backwards in turn."""
    settings = [setting for sampler in samplers for setting in settings_of(sampler, task)]
    drawn: dict[Setting, list[Drawn]] = {setting: [] for setting in settings}
    for repetition in range(repetitions):
        for setting in settings if repetition % 2 == 0 else reversed(settings):
            batch_size = setting.batch_size or task.batch_sizes[-1]
            drawn[setting].append(
                processes.submit(measure_sampler, setting.sampler, model_dir, task, batch_size).result()
            )
    return Result(task, drawn)


def settings_of(sampler: Sampler, task: SamplingTask) -> list[Setting]:
    if sampler in (Sampler.OURS, Sampler.GENERATE):
        return [Setting(sampler, batch_size) for batch_size in task.batch_sizes]
    return [Setting(sampler, None)]


def figures(result: Result, *, device: str) -> list[Figure]:
    """Each ours over another's, at least as fast; on a GPU engines made for serving are shown and have no goal."""
    name = result.task.name
    others = [Sampler.GENERATE] if device == "cuda" else [Sampler.GENERATE, Sampler.CONTINUOUS]
    return [
        *(
            Figure(f"{name}_over_generate_at_{each.batch_size}", median(result.ratios(each)), ">=", 1.0)
            for each in settings_of(Sampler.GENERATE, result.task)
        ),
        *(Figure(f"{name}_over_best_{each}", median(result.best_ratios(each)), ">=", 1.0) for each in others),
    ]


def show_result(result: Result, *, device: str) -> None:
    unit = "tokens a CPU s" if device == "cpu" else "tokens a s"
    task = result.task
    show(
        f"{task.name}: {len(task.prompts)} prompts, {task.completions} answers of {task.max_new_tokens} tokens at most",
        ("sampler", "rows", "tokens", unit, "elapsed", "ours over it", "peak MiB"),
        [_row(result, setting) for setting in result.drawn],
    )


def _row(result: Result, setting: Setting) -> tuple[str, ...]:
    drawn, ratios = result.drawn[setting], result.ratios(setting)
    elapsed = median(each.tokens / each.usage.wall_seconds for each in drawn)
    ratio = f"{median(ratios):.2f} ({min(ratios):.2f}..{max(ratios):.2f})"
    return (
        setting.sampler,
        "" if setting.batch_size is None else str(setting.batch_size),
        f"{median(each.tokens for each in drawn):.0f}",
        f"{median(result.rates(setting)):.0f}",
        f"{elapsed:.0f}",
        "" if setting.sampler is Sampler.OURS else ratio,
        f"{median(each.usage.peak_bytes for each in drawn) / 2**20:.0f}",
    )


if __name__ == "__main__":
    raise SystemExit(main())
