"""A capability task in the lm-evaluation-harness format: the part of it that is data and runs no code.

The names and their meaning are lm_eval's (github.com/EleutherAI/lm-evaluation-harness, lm_eval/config/task.py, 0.4.13).
Documents come with the task, so nothing here names a data set; templates are rendered by app.rlaif.task_template.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StrictBool, StringConstraints, model_validator

from app.rlaif.patterns import InvalidPattern, compile_pattern

MOST_DOCUMENTS = 20_000
Document = Annotated[dict[str, Any], Field(min_length=1, max_length=1000)]
Template = Annotated[str, StringConstraints(max_length=20_000)]
Short = Annotated[str, StringConstraints(max_length=200)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\- ]{0,99}$")]


class OutputType(StrEnum):
    """What is asked of the model: which choice is likeliest, whether a text is what it would write, or to write."""

    MULTIPLE_CHOICE = "multiple_choice"
    LOGLIKELIHOOD = "loglikelihood"
    GENERATE_UNTIL = "generate_until"


class MetricName(StrEnum):
    """`acc_norm` divides a choice's log-likelihood by its characters; `perplexity` is exp(-mean) over documents."""

    ACC = "acc"
    ACC_NORM = "acc_norm"
    PERPLEXITY = "perplexity"
    EXACT_MATCH = "exact_match"

    @property
    def higher_is_better(self) -> bool:
        return self is not MetricName.PERPLEXITY

    @property
    def aggregation(self) -> str:
        return "perplexity" if self is MetricName.PERPLEXITY else "mean"


METRICS: Mapping[OutputType, tuple[MetricName, ...]] = {
    OutputType.MULTIPLE_CHOICE: (MetricName.ACC, MetricName.ACC_NORM),
    OutputType.LOGLIKELIHOOD: (MetricName.PERPLEXITY, MetricName.ACC),
    OutputType.GENERATE_UNTIL: (MetricName.EXACT_MATCH,),
}
"""What each output type can be measured by; lm_eval's defaults, in its order."""

_WITHOUT_MEANING = ("metadata", "tag", "task_alias")
"""What lm_eval's configs carry for people and groups: it is not kept."""

_SUPPORTED = "is not of the part of the lm-evaluation-harness format that runs here: leave it out"
_REASONS = {
    **dict.fromkeys(
        ("dataset_path", "dataset_name", "dataset_kwargs", "custom_dataset"),
        "names a data set to load: send the documents with the task instead",
    ),
    **dict.fromkeys(
        ("training_split", "validation_split", "test_split", "fewshot_split"),
        "names a split of a data set: send the documents to measure on, and fewshot_config.samples for the examples",
    ),
    **dict.fromkeys(("process_docs", "process_results"), "is code, which never runs here: process the documents first"),
    "include": "reads another file: write its keys into this config",
    "use_prompt": "reads a prompt from a library: write it as doc_to_text",
}


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class MetricConfig(_Part):
    """One entry of `metric_list`. The options of exact_match are those of lm_eval's."""

    metric: MetricName
    aggregation: Literal["mean", "perplexity"] | None = None
    higher_is_better: StrictBool | None = None
    ignore_case: StrictBool = False
    ignore_punctuation: StrictBool = False
    ignore_numbers: StrictBool = False
    regexes_to_ignore: Annotated[tuple[Short, ...], Field(max_length=20)] = Field(
        (), description="RE2 patterns whose matches are taken out of both sides first"
    )

    @model_validator(mode="after")
    def _is_the_metric_it_says(self) -> Self:
        if self.aggregation not in (None, self.metric.aggregation):
            raise ValueError(f"the aggregation of {self.metric.value} is {self.metric.aggregation!r}: leave it out")
        if self.higher_is_better not in (None, self.metric.higher_is_better):
            raise ValueError(f"higher_is_better of {self.metric.value} is {self.metric.higher_is_better}: leave it out")
        options = self.ignore_case or self.ignore_punctuation or self.ignore_numbers or self.regexes_to_ignore
        if options and self.metric is not MetricName.EXACT_MATCH:
            raise ValueError(f"ignore_case and its like are options of exact_match, not of {self.metric.value}")
        for pattern in self.regexes_to_ignore:
            _require_pattern(pattern)
        return self


class RegexFilter(_Part):
    """Takes the `group_select`th of a pattern's matches, from 0 or from the end; of its groups the first not empty."""

    function: Literal["regex"]
    regex_pattern: Annotated[str, StringConstraints(min_length=1, max_length=2000)] = r"#### (\-?[0-9\.\,]+)"
    group_select: Annotated[int, Field(strict=True, ge=-1000, le=1000)] = 0
    fallback: Short = "[invalid]"

    @model_validator(mode="after")
    def _can_run(self) -> Self:
        _require_pattern(self.regex_pattern)
        return self


class PlainFilter(_Part):
    """`take_first` keeps the one answer that there is; `lowercase` and `remove_whitespace` are what they say."""

    function: Literal["take_first", "lowercase", "remove_whitespace"]


AnyFilter = Annotated[RegexFilter | PlainFilter, Field(discriminator="function")]


class FilterConfig(_Part):
    """A named way to read an answer; each metric is measured once for every one of them."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    filter: Annotated[tuple[AnyFilter, ...], Field(min_length=1, max_length=10)]


class GenerationConfig(_Part):
    """How an answer is written: greedily, up to the first of the `until` texts."""

    until: Annotated[tuple[Annotated[Short, StringConstraints(min_length=1)], ...], Field(max_length=20)] | None = (
        Field(None, description="If absent, the fewshot_delimiter")
    )
    max_gen_toks: Annotated[int, Field(strict=True, ge=1, le=4096)] = 256
    do_sample: Literal[False] = False
    temperature: Annotated[float, Field(ge=0, le=0)] = 0.0

    @model_validator(mode="before")
    @classmethod
    def _one_text_is_a_list(cls, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(value.get("until"), str):
            return {**value, "until": [value["until"]]}
        return value


class FewshotConfig(_Part):
    """The documents that stand before each question with their answers: the first `num_fewshot`, in their order."""

    sampler: Literal["first_n"] = "first_n"
    samples: Annotated[tuple[Document, ...], Field(min_length=1, max_length=100)]


class TaskConfig(_Part):
    """What is asked about each document, and how the answers are measured."""

    task: Name
    output_type: OutputType
    doc_to_text: Template = Field(description="A field of the documents, or a Jinja template over them")
    doc_to_target: Template | Annotated[int, Field(strict=True, ge=0, le=1000)] = Field(
        description="The answer: a field or template; with choices the place of the right one, from 0, or its text"
    )
    doc_to_choice: Template | Annotated[tuple[Template, ...], Field(min_length=2, max_length=100)] | None = Field(
        None, description="The choices: a list, or a field or template that gives one"
    )
    description: Template = Field("", description="What stands before everything; the system message of a chat")
    target_delimiter: Short = " "
    fewshot_delimiter: Short = "\n\n"
    num_fewshot: Annotated[int, Field(strict=True, ge=0, le=100)] = 0
    fewshot_config: FewshotConfig | None = None
    metric_list: Annotated[tuple[MetricConfig, ...], Field(max_length=10)] = Field(
        (), description="If empty, what lm_eval measures by default; the first is what a gate reads"
    )
    filter_list: Annotated[tuple[FilterConfig, ...], Field(max_length=10)] = ()
    generation_kwargs: GenerationConfig | None = None
    apply_chat_template: StrictBool = Field(
        False, description="Ask in the model's own chat format, all in one user message (lm_eval --apply_chat_template)"
    )

    @model_validator(mode="before")
    @classmethod
    def _says_what_is_not_read(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        for key in value:
            if key not in cls.model_fields and key not in _WITHOUT_MEANING:
                raise ValueError(f"{str(key)[:100]} {_REASONS.get(key, _SUPPORTED)}")
        for key, given in value.items():
            if isinstance(given, str) and given.lstrip().startswith("!function"):
                raise ValueError(f"{key} names code by !function, which never runs here: write a template")
        return {key: given for key, given in value.items() if key not in _WITHOUT_MEANING}

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        choices = self.doc_to_choice is not None
        if choices is not (self.output_type is OutputType.MULTIPLE_CHOICE):
            wanted = "needs" if not choices else "has no use for"
            raise ValueError(f"output_type {self.output_type.value} {wanted} doc_to_choice")
        writes = self.output_type is OutputType.GENERATE_UNTIL
        if not writes and (self.generation_kwargs is not None or self.filter_list):
            raise ValueError(f"generation_kwargs and filter_list are for generate_until, not {self.output_type.value}")
        known = 0 if self.fewshot_config is None else len(self.fewshot_config.samples)
        if self.num_fewshot > known:
            raise ValueError(f"num_fewshot is {self.num_fewshot}, and fewshot_config.samples holds {known} documents")
        return self

    @model_validator(mode="after")
    def _metrics_are_of_the_output(self) -> Self:
        known = METRICS[self.output_type]
        for each in self.metric_list:
            if each.metric not in known:
                offered = ", ".join(known)
                raise ValueError(f"{each.metric.value} is no metric of {self.output_type.value}: use {offered}")
        _require_unique("metric_list", (each.metric for each in self.metric_list))
        _require_unique("filter_list", (each.name for each in self.filter_list))
        return self

    def metrics(self) -> tuple[MetricConfig, ...]:
        return self.metric_list or tuple(MetricConfig(metric=name) for name in METRICS[self.output_type])

    def figures(self) -> dict[str, MetricName]:
        """What is measured, by the name it is reported under: with filters `metric,filter`, as lm_eval does."""
        suffixes = [f",{each.name}" for each in self.filter_list] or [""]
        return {f"{each.metric}{suffix}": each.metric for each in self.metrics() for suffix in suffixes}

    def generation(self) -> GenerationConfig:
        """The generation settings with every default filled in."""
        given = self.generation_kwargs or GenerationConfig()
        return given if given.until is not None else given.model_copy(update={"until": (self.fewshot_delimiter,)})


def task_digest(config: TaskConfig, documents: Iterable[Mapping[str, Any]]) -> str:
    """SHA-256 over everything that a figure depends on: the config but for its name, and the documents in order."""
    digest = hashlib.sha256(_canonical(config.model_dump(mode="json", exclude={"task"})))
    for document in documents:
        digest.update(b"\n" + _canonical(document))
    return digest.hexdigest()


def _canonical(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def _require_pattern(pattern: str) -> None:
    try:
        compile_pattern(pattern)
    except InvalidPattern as error:
        raise ValueError(str(error)) from error


def _require_unique(part: str, names: Iterable[str]) -> None:
    given = list(names)
    if twice := sorted({name for name in given if given.count(name) > 1}):
        raise ValueError(f"{part}: found twice: {', '.join(twice)}")
