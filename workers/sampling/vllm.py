"""Sampling and rollouts with vLLM in process (https://docs.vllm.ai): continuous batching on a GPU.

The engine runs in this process, so that a policy in training can hand it its weights, as TRL's colocated mode does.
A request's seed decides its tokens as far as vLLM's kernels allow: another batch may round another way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from workers.sampling.decoding import Drawing
from workers.sampling.language_model import load_tokenizer, stop_token_ids
from workers.sampling.sampler import Sampler

SAMPLING_MEMORY = 0.85
"""Share of a GPU's memory that vLLM takes where it is alone on it."""

ROLLOUT_MEMORY = 0.3
"""The same beside a policy in training, its gradients and its optimiser."""


class EngineMissing(Exception):
    """Raised when the deployment asks for vLLM and it is not installed."""

    def __init__(self) -> None:
        super().__init__(
            "RLAIF_SAMPLER is vllm, and vllm is not installed: install the extra `vllm` into the workers' environment, "
            "or set RLAIF_SAMPLER=transformers"
        )


class VLLMEngine:
    """A model whose tokens vLLM draws."""

    exact = False

    def __init__(self, model_dir: Path, *, memory: float) -> None:
        """Raises `EngineMissing`, `NoChatTemplate`, `NoStopToken`."""
        os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"  # weights are handed over within the process
        try:
            self._vllm: Any = import_module("vllm")
        except ModuleNotFoundError as error:
            raise EngineMissing from error
        self.tokenizer: Any = load_tokenizer(model_dir)
        self.stop_ids = stop_token_ids(model_dir, self.tokenizer)
        config = AutoConfig.from_pretrained(model_dir, local_files_only=True, trust_remote_code=False)
        self.window: int | None = getattr(config, "max_position_embeddings", None)
        self._llm = self._vllm.LLM(
            model=str(model_dir),
            trust_remote_code=False,
            load_format="safetensors",
            gpu_memory_utilization=memory,
            skip_tokenizer_init=True,
            seed=0,
        )

    def decode(
        self,
        prompts: Sequence[Sequence[int]],
        seeds: Sequence[int],
        *,
        drawing: Drawing,
        should_stop: Callable[[], bool],
    ) -> list[list[int]] | None:
        """Asked to stop before the batch alone: vLLM schedules it as a whole."""
        if should_stop():
            return None
        asked = [{"prompt_token_ids": list(prompt)} for prompt in prompts]
        answers = self._llm.generate(asked, [self._params(seed, drawing) for seed in seeds], use_tqdm=False)
        return [self._ended(answer.outputs[0]) for answer in answers]

    def load(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Take the weights of a policy in training; nothing computed with the old ones is used again."""
        model = self._llm.llm_engine.model_executor.driver_worker.model_runner.model
        model.load_weights(weights)
        self._llm.reset_prefix_cache()

    def _params(self, seed: int, drawing: Drawing) -> Any:
        return self._vllm.SamplingParams(
            temperature=drawing.temperature,
            top_p=drawing.top_p,
            max_tokens=drawing.max_new_tokens,
            seed=seed,
            stop_token_ids=sorted(self.stop_ids),
            detokenize=False,
        )

    def _ended(self, output: Any) -> list[int]:
        """With the stop token, which some versions leave out of the tokens and name as the reason."""
        ids = [int(token) for token in output.token_ids]
        if output.finish_reason == "stop" and (not ids or ids[-1] not in self.stop_ids):
            reason = output.stop_reason
            ids.append(reason if isinstance(reason, int) else min(self.stop_ids))
        return ids


class VLLMSampler(Sampler):
    """Answers prompts with vLLM."""

    def __init__(self, model_dir: Path) -> None:
        super().__init__(VLLMEngine(model_dir, memory=SAMPLING_MEMORY))
