"""A model's answers to the questions of a capability task, and what they score."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from app.rlaif.task import OutputType, TaskConfig
from app.rlaif.task_scoring import Likelihood, chosen, continuations, expected
from app.rlaif.task_scoring import written as scored_text
from app.rlaif.task_template import Question
from workers.sampling.continuations import Continuation, chat_context, likelihoods, written
from workers.sampling.language_model import LanguageModel


@dataclass(frozen=True, slots=True)
class Outcome:
    """One answer: `text` is what the model wrote, `logprobs` what it gave to each choice or to the target, in nats."""

    text: str | None
    logprobs: tuple[float, ...]
    scores: dict[str, float]


def answered(
    language_model: LanguageModel,
    config: TaskConfig,
    questions: Sequence[Question],
    *,
    batch_size: int,
    should_stop: Callable[[], bool],
) -> list[Outcome] | None:
    """An outcome for each question; None when asked to stop. Raises WindowTooSmall."""
    contexts = [_context(language_model, config, asked) for asked in questions]
    if config.output_type is OutputType.GENERATE_UNTIL:
        return _written(language_model, config, questions, contexts, batch_size=batch_size, should_stop=should_stop)
    texts = [continuations(config, choices=asked.choices, targets=asked.targets) for asked in questions]
    asked_about = [
        Continuation(context, text, config.apply_chat_template)
        for context, each in zip(contexts, texts, strict=True)
        for text in each
    ]
    found = likelihoods(language_model, asked_about, batch_size=batch_size, should_stop=should_stop)
    if found is None:
        return None
    left = iter(found)
    return [_read(config, asked, list(islice(left, len(each)))) for asked, each in zip(questions, texts, strict=True)]


def _context(language_model: LanguageModel, config: TaskConfig, asked: Question) -> str:
    if config.apply_chat_template:
        return chat_context(language_model, asked.system, asked.context)
    return asked.system + asked.context


def _read(config: TaskConfig, asked: Question, found: Sequence[Likelihood]) -> Outcome:
    logprobs = tuple(each.logprob for each in found)
    if config.output_type is OutputType.LOGLIKELIHOOD:
        return Outcome(None, logprobs, expected(config, found[0]))
    return Outcome(None, logprobs, chosen(config, found, choices=asked.choices, gold=asked.gold))


def _written(
    language_model: LanguageModel,
    config: TaskConfig,
    questions: Sequence[Question],
    contexts: Sequence[str],
    *,
    batch_size: int,
    should_stop: Callable[[], bool],
) -> list[Outcome] | None:
    settings = config.generation()
    prompts = [(context, config.apply_chat_template) for context in contexts]
    texts: list[str] = []
    for start in range(0, len(prompts), batch_size):
        batch = written(
            language_model,
            prompts[start : start + batch_size],
            until=settings.until or (),
            max_new_tokens=settings.max_gen_toks,
            should_stop=should_stop,
        )
        if batch is None:
            return None
        texts += batch
    return [_graded(config, text, asked.targets) for text, asked in zip(texts, questions, strict=True)]


def _graded(config: TaskConfig, text: str, targets: Iterable[str]) -> Outcome:
    return Outcome(text, (), scored_text(config, text, targets=tuple(targets)))
