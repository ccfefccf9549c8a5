"""The judge that is a model in this process: the label is read off the next token's log-probabilities.

Imported only in a process that may load torch.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from app.rlaif.comparison import InvalidReason
from app.rlaif.judges import LocalJudge
from app.rlaif.judging import LABELS, ChatMessages, invalid, prompt_hash, read_reply
from workers.judges.protocol import JudgedAnswer, JudgeMisconfigured, Question, rendered, verdict_of
from workers.sampling.language_model import LanguageModel, encode, render_prompt
from workers.sampling.scoring import OptionNotOneToken, next_token_logprobs, option_token_ids

BATCHES_AT_ONCE = 8
"""Questions are sorted by length within so many batches, which saves padding, and answered together."""


class ModelJudge:
    """One forward pass a question: nothing is generated, so nothing can fail to parse."""

    def __init__(self, spec: LocalJudge, *, model_dir: Path) -> None:
        self._spec = spec
        self._model = LanguageModel.load(model_dir)
        try:
            option_token_ids(self._model.tokenizer, tuple(LABELS))
        except OptionNotOneToken as error:
            raise JudgeMisconfigured(f"model {spec.model} cannot be a judge: {error}") from error
        positions = getattr(self._model.model.config, "max_position_embeddings", None) or spec.max_length
        self._max_length = min(spec.max_length, positions)

    async def judge(self, questions: Iterable[Question]) -> AsyncGenerator[JudgedAnswer, None]:
        source = iter(questions)
        while batch := list(islice(source, self._spec.batch_size * BATCHES_AT_ONCE)):
            for answer in self._answers(batch):
                yield answer

    async def aclose(self) -> None:
        """The process that ran a local judge ends with its shard and gives the memory back."""

    def _answers(self, questions: Sequence[Question]) -> list[JudgedAnswer]:
        """Answers to one pass's questions; one that is too long is INVALID (truncated) and never cut."""
        started = time.monotonic()
        asked = [rendered(question) for question in questions]
        prompts = [render_prompt(self._model.tokenizer, messages) for messages in asked]
        lengths = [len(encode(self._model.tokenizer, prompt)) for prompt in prompts]
        fitting = [index for index, length in enumerate(lengths) if length <= self._max_length]
        logprobs = dict(zip(fitting, self._logprobs([prompts[index] for index in fitting]), strict=True))
        latency_s = (time.monotonic() - started) / len(questions)
        return [
            replace(self._read(question, asked[index], logprobs.get(index), length=lengths[index]), latency_s=latency_s)
            for index, question in enumerate(questions)
        ]

    def _logprobs(self, prompts: Sequence[str]) -> list[dict[str, float]]:
        if not prompts:
            return []
        return next_token_logprobs(self._model, prompts, tuple(LABELS), batch_size=self._spec.batch_size)

    def _read(
        self, question: Question, messages: ChatMessages, logprobs: dict[str, float] | None, *, length: int
    ) -> JudgedAnswer:
        if logprobs is None:
            answer = verdict_of(question, invalid(InvalidReason.TRUNCATED))
            detail = f"the question is {length} tokens, more than the judge's {self._max_length}"
            return replace(answer, raw_text=detail, prompt_hash=prompt_hash(messages))
        label = max(logprobs, key=lambda name: logprobs[name])
        answer = verdict_of(question, read_reply(label, finish_reason="stop", alternatives=logprobs))
        return replace(
            answer, raw_text=label, prompt_hash=prompt_hash(messages), prompt_tokens=length, completion_tokens=1
        )
