"""What of vLLM our engine touches, with the tokens drawn by torch: the same calls, the same shapes of answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from workers.sampling.decoding import Drawing
from workers.sampling.language_model import LanguageModel
from workers.sampling.transformers import TransformersEngine


@dataclass(frozen=True)
class SamplingParams:
    temperature: float
    top_p: float
    max_tokens: int
    seed: int
    stop_token_ids: Sequence[int]
    detokenize: bool


class LLM:
    """`names_stops`: leaves the stop token out of the tokens and names it as the reason, as some versions do."""

    names_stops = False

    def __init__(
        self,
        *,
        model: str,
        trust_remote_code: bool,
        load_format: str,
        gpu_memory_utilization: float,
        skip_tokenizer_init: bool,
        seed: int,
    ) -> None:
        assert not trust_remote_code
        assert load_format == "safetensors"
        assert 0 < gpu_memory_utilization < 1
        self._language_model = LanguageModel.load(Path(model))
        self.resets = 0
        runner = SimpleNamespace(model=self)
        executor = SimpleNamespace(driver_worker=SimpleNamespace(model_runner=runner))
        self.llm_engine = SimpleNamespace(model_executor=executor)

    def generate(
        self, prompts: Sequence[dict[str, list[int]]], params: Sequence[SamplingParams], *, use_tqdm: bool
    ) -> list[Any]:
        assert len(prompts) == len(params)
        engine = TransformersEngine(self._language_model)
        drawn = engine.decode(
            [prompt["prompt_token_ids"] for prompt in prompts],
            [each.seed for each in params],
            drawing=Drawing(params[0].temperature, params[0].top_p, params[0].max_tokens, exact=engine.exact),
            should_stop=lambda: False,
        )
        assert drawn is not None
        return [SimpleNamespace(outputs=[self._output(ids, params[0])]) for ids in drawn]

    def _output(self, ids: list[int], params: SamplingParams) -> Any:
        stopped = ids[-1] in params.stop_token_ids
        shown = ids[:-1] if stopped and self.names_stops else ids
        reason = ids[-1] if stopped else None
        return SimpleNamespace(token_ids=shown, finish_reason="stop" if stopped else "length", stop_reason=reason)

    @torch.no_grad()
    def load_weights(self, weights: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Raises KeyError for a name that a checkpoint of this architecture does not have."""
        own = dict(self._language_model.model.named_parameters())
        for name, tensor in weights:
            own[name].copy_(tensor)

    def reset_prefix_cache(self) -> None:
        self.resets += 1
