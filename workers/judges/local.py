"""The judge that is a model in this process: the label is read off the next token's log-probabilities.

Imported only in a process that may load torch.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from app.rlaif.comparison import InvalidReason
from app.rlaif.judges import LocalJudge
from app.rlaif.questions import Question
from app.rlaif.rendering import prompt_hash
from app.rlaif.replies import LABELS, Reply, ReplyToken
from workers.judges.protocol import Judged, JudgeMisconfigured
from workers.sampling.language_model import LanguageModel, encode, render_prompt
from workers.sampling.scoring import OptionNotOneToken, next_token_logprobs, option_token_ids

WINDOW = 8
"""Questions are sorted by length within so many batches, which saves padding."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question as the model reads it, and its length in tokens."""

    question: Question
    prompt_hash: str
    prompt: str
    length: int


class ModelJudge:
    """One forward pass a question: nothing is generated, so nothing can fail to parse."""

    def __init__(self, spec: LocalJudge, *, model_dir: Path) -> None:
        self._spec = spec
        self._model = LanguageModel.load(model_dir)
        try:
            option_token_ids(self._model.tokenizer, tuple(LABELS))
        except OptionNotOneToken as error:
            raise JudgeMisconfigured(f"model {spec.model} cannot be a judge: {error}") from error
        self._ten = "10" if len(encode(self._model.tokenizer, "10")) > 1 else None
        positions = getattr(self._model.model.config, "max_position_embeddings", None) or spec.max_length
        self._max_length = min(spec.max_length, positions)

    async def judge(self, questions: Iterable[Question]) -> AsyncGenerator[Judged, None]:
        source = iter(questions)
        while window := list(islice(source, self._spec.batch_size * WINDOW)):
            asked = sorted((self._asked(question) for question in window), key=lambda item: item.length)
            for start in range(0, len(asked), self._spec.batch_size):
                for answer in self._answers(asked[start : start + self._spec.batch_size]):
                    yield answer
                await asyncio.sleep(0)  # a reader that shares the loop stores them before the next pass

    async def aclose(self) -> None:
        """The process that ran a local judge ends with its shard and gives the memory back."""

    def _asked(self, question: Question) -> _Asked:
        messages = question.messages()
        prompt = render_prompt(self._model.tokenizer, messages)
        return _Asked(question, prompt_hash(messages), prompt, len(encode(self._model.tokenizer, prompt)))

    def _answers(self, batch: Sequence[_Asked]) -> list[Judged]:
        """Answers to one pass's questions; one that is too long is INVALID (truncated) and never cut."""
        started = time.monotonic()
        fitting = [item for item in batch if item.length <= self._max_length]
        logprobs = self._logprobs([item.prompt for item in fitting], batch[0].question.format.options)
        latency_s = (time.monotonic() - started) / len(batch)
        answered = [self._read(item, values) for item, values in zip(fitting, logprobs, strict=True)]
        answered += [self._too_long(item) for item in batch if item.length > self._max_length]
        return [replace(answer, latency_s=latency_s) for answer in answered]

    def _logprobs(self, prompts: Sequence[str], options: Sequence[str]) -> list[dict[str, float]]:
        """Of each option as the whole reply to each prompt. Raises JudgeMisconfigured for options that are not read."""
        if not options:
            raise JudgeMisconfigured("a local judge reads labels and numbers and writes nothing: name another judge")
        if not prompts:
            return []
        try:
            if self._ten in options:
                return self._numbers(prompts, [option for option in options if option != self._ten])
            return next_token_logprobs(self._model, prompts, options, batch_size=self._spec.batch_size)
        except OptionNotOneToken as error:
            raise JudgeMisconfigured(f"model {self._spec.model} cannot be a judge: {error}") from error

    def _numbers(self, prompts: Sequence[str], digits: Sequence[str]) -> list[dict[str, float]]:
        """Where 10 is a `1` and a `0`, a second pass tells what follows the `1`; the rest of its mass is 1's."""
        read = partial(next_token_logprobs, self._model, batch_size=self._spec.batch_size)
        found = read(prompts, digits)
        zeros = read([f"{prompt}1" for prompt in prompts], ("0",))
        for logprobs, zero in zip(found, zeros, strict=True):
            ten = min(math.exp(zero["0"]), 1 - 1e-12)
            logprobs["10"] = logprobs["1"] + math.log(ten)
            logprobs["1"] += math.log1p(-ten)
        return found

    def _read(self, item: _Asked, logprobs: Mapping[str, float]) -> Judged:
        label = max(logprobs, key=lambda name: logprobs[name])
        reply = Reply(label, tokens=(ReplyToken(label, logprobs),))
        return Judged(
            item.question.read(reply),
            reply=reply,
            raw_text=label,
            prompt_hash=item.prompt_hash,
            prompt_tokens=item.length,
            completion_tokens=1,
        )

    def _too_long(self, item: _Asked) -> Judged:
        detail = f"the question is {item.length} tokens, more than the judge's {self._max_length}"
        answers = item.question.unanswered(InvalidReason.TRUNCATED)
        return Judged(answers, raw_text=detail, prompt_hash=item.prompt_hash)
