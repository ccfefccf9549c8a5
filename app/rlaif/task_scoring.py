"""What an answer scores, as lm_eval scores it (lm_eval/api/task.py process_results, lm_eval/api/metrics.py, 0.4.13)."""

from __future__ import annotations

import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from app.rlaif.patterns import compile_pattern
from app.rlaif.task import FilterConfig, MetricConfig, MetricName, OutputType, RegexFilter, TaskConfig

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)
_NO_DIGITS = str.maketrans("", "", string.digits)


@dataclass(frozen=True, slots=True)
class Likelihood:
    """Log-probability of a continuation, in nats, and whether each of its tokens is the likeliest one."""

    logprob: float
    greedy: bool


def chosen(
    config: TaskConfig, likelihoods: Sequence[Likelihood], *, choices: Sequence[str], gold: Sequence[int]
) -> dict[str, float]:
    """The scores of a multiple-choice question by figure; of equally likely choices the first counts."""
    plain = [each.logprob for each in likelihoods]
    by_length = [each.logprob / len(choice) for each, choice in zip(likelihoods, choices, strict=True)]
    read = {MetricName.ACC: plain, MetricName.ACC_NORM: by_length}
    return {each.metric.value: float(_first_best(read[each.metric]) in gold) for each in config.metrics()}


def expected(config: TaskConfig, likelihood: Likelihood) -> dict[str, float]:
    """The scores of a text that was to be continued by; `perplexity` is the log-probability until it is aggregated."""
    read = {MetricName.ACC: float(likelihood.greedy), MetricName.PERPLEXITY: likelihood.logprob}
    return {each.metric.value: read[each.metric] for each in config.metrics()}


def written(config: TaskConfig, text: str, *, targets: Sequence[str]) -> dict[str, float]:
    """The scores of an answer that a model wrote: 1 where it equals any of the targets, by metric and filter."""
    scores = {}
    for name, read in _filtered(config, text):
        for metric in config.metrics():
            key = metric.metric.value if name is None else f"{metric.metric.value},{name}"
            scores[key] = float(any(_normal(read, metric) == _normal(target, metric) for target in targets))
    return scores


def cut_at_stops(text: str, until: Sequence[str]) -> str:
    """The text up to the first of the stops."""
    for stop in until:
        text = text.split(stop)[0]
    return text


def continuations(config: TaskConfig, *, choices: Sequence[str], targets: Sequence[str]) -> list[str]:
    """What is scored behind the context. A chat's answer begins a message, so no delimiter stands before it."""
    if config.output_type is OutputType.LOGLIKELIHOOD:
        return list(targets)
    delimiter = "" if config.apply_chat_template else config.target_delimiter
    return [delimiter + choice for choice in choices]


def _first_best(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)


def _filtered(config: TaskConfig, text: str) -> Iterator[tuple[str | None, str]]:
    if not config.filter_list:
        yield None, text
    for each in config.filter_list:
        yield each.name, _read(each, text)


def _read(pipeline: FilterConfig, text: str) -> str:
    for step in pipeline.filter:
        if isinstance(step, RegexFilter):
            text = _extracted(step, text)
        elif step.function == "lowercase":
            text = text.lower()
        elif step.function == "remove_whitespace":
            text = text.lstrip()
    return text


def _extracted(step: RegexFilter, text: str) -> str:
    found = compile_pattern(step.regex_pattern).findall(text.encode("utf-8", "replace"))
    if not -len(found) <= step.group_select < len(found):
        return step.fallback
    match = found[step.group_select]
    groups = match if isinstance(match, tuple) else (match,)
    if isinstance(match, tuple) and not any(groups):
        return step.fallback.strip()
    taken: bytes = next((group for group in groups if group), b"")
    return taken.decode("utf-8", "replace").strip()


def _normal(text: str, metric: MetricConfig) -> str:
    for pattern in metric.regexes_to_ignore:
        text = compile_pattern(pattern).sub(b"", text.encode("utf-8", "replace")).decode("utf-8", "replace")
    if metric.ignore_case:
        text = text.lower()
    if metric.ignore_punctuation:
        text = text.translate(_NO_PUNCTUATION)
    return text.translate(_NO_DIGITS) if metric.ignore_numbers else text
