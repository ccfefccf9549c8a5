"""Documents made into questions as lm_eval makes them (lm_eval/api/task.py, 0.4.13), in Jinja's immutable sandbox.

Templates come from clients. The sandbox keeps them from everything but the document; how long they run and how much
they hold is bounded by who calls: app.services.task_rendering runs this in a process with limits of its own.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from app.rlaif.task import OutputType, TaskConfig

MOST_CHARACTERS = 200_000
"""Of one question with its examples and choices: no model here reads as much."""

MOST_CHOICES = 100

_DIGITS_OF_NO_PLACE = 10
_NO_TEXT = re.compile("[\\x00\\ud800-\\udfff]")


class DocumentRefused(ValueError):
    """A document of which a template makes no question; `field` is the template's."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field


@dataclass(frozen=True, slots=True)
class Question:
    """One document as it is asked. `gold` are the places of the right `choices`; without choices there are `targets`.

    `system` is the description; in plain text it stands before `context`.
    """

    system: str
    context: str
    choices: tuple[str, ...]
    gold: tuple[int, ...]
    targets: tuple[str, ...]


def question(config: TaskConfig, document: Mapping[str, Any], *, examples: str) -> Question:
    """`examples` is what `few_shot` gives. Raises DocumentRefused."""
    text = _text("doc_to_text", config.doc_to_text, document)
    if text.isdecimal() and config.output_type is OutputType.MULTIPLE_CHOICE:
        raise DocumentRefused(
            "doc_to_text", f"{text[:20]!r} stands for a choice to ask with, which does not run here: write the question"
        )
    found = Question(
        system=_text("description", config.description, document),
        context=examples + text,
        choices=_choices(config, document),
        gold=(),
        targets=(),
    )
    size = len(found.system) + len(found.context) + sum(map(len, found.choices))
    if size > MOST_CHARACTERS:
        raise DocumentRefused("doc_to_text", f"{size} characters are more than {MOST_CHARACTERS}")
    return _storable(_answered(config, document, found))


def _storable(asked: Question) -> Question:
    """A template can write characters that its config may not hold: a NUL, half of a surrogate pair."""
    parts = {
        "description": (asked.system,),
        "doc_to_text": (asked.context,),
        "doc_to_choice": asked.choices,
        "doc_to_target": asked.targets,
    }
    for field, texts in parts.items():
        if any(_NO_TEXT.search(text) for text in texts):
            raise DocumentRefused(field, "it gives a NUL or a lone surrogate, which is no text")
    return asked


def _answered(config: TaskConfig, document: Mapping[str, Any], asked: Question) -> Question:
    target = _target(config, document)
    gold: tuple[int, ...] = ()
    targets: tuple[str, ...] = ()
    if config.output_type is OutputType.MULTIPLE_CHOICE:
        gold = tuple(_place(each, asked.choices) for each in _each(target))
    else:
        targets = tuple(map(str, _each(target)))
        if sum(map(len, targets)) > MOST_CHARACTERS:
            raise DocumentRefused("doc_to_target", f"it is longer than {MOST_CHARACTERS} characters")
    if not (gold or any(targets)):
        raise DocumentRefused("doc_to_target", "the document has no answer")
    if config.output_type is OutputType.LOGLIKELIHOOD and len(targets) != 1:
        raise DocumentRefused("doc_to_target", f"loglikelihood needs one text, not {len(targets)}")
    return Question(asked.system, asked.context, asked.choices, gold, targets)


def few_shot(config: TaskConfig) -> str:
    """The examples before each question: documents with their answers, one behind the other. Raises DocumentRefused."""
    samples = () if config.fewshot_config is None else config.fewshot_config.samples
    return "".join(_example(config, document) for document in samples[: config.num_fewshot])


def _example(config: TaskConfig, document: Mapping[str, Any]) -> str:
    text = _text("doc_to_text", config.doc_to_text, document)
    answer = _each(_target(config, document))[:1]
    if not answer:
        raise DocumentRefused("doc_to_target", "an example of fewshot_config.samples has no answer")
    shown = answer[0]
    if config.output_type is OutputType.MULTIPLE_CHOICE:
        choices = _choices(config, document)
        shown = choices[_place(shown, choices)]
    return f"{text}{config.target_delimiter}{shown}{config.fewshot_delimiter}"


def _text(field: str, template: str, document: Mapping[str, Any]) -> str:
    """The document's own field of that name, or the template rendered over it."""
    value = document[template] if template in document else _render(field, template, document)
    if not isinstance(value, str):
        raise DocumentRefused(field, f"it gives {type(value).__name__}, where a text is needed")
    return value


def _target(config: TaskConfig, document: Mapping[str, Any]) -> Any:
    """A number, a text, or a list of either, as lm_eval reads it."""
    template = config.doc_to_target
    if isinstance(template, int):
        return template
    if template in document:
        return document[template]
    text = _render("doc_to_target", template, document)
    if text.isdecimal() and len(text) < _DIGITS_OF_NO_PLACE and config.doc_to_choice is not None:
        return int(text)
    if len(text) >= 2 and text[0] == "[" and text[-1] == "]":
        try:
            return _literal(text)
        except (SyntaxError, ValueError):
            return text
    return text


def _choices(config: TaskConfig, document: Mapping[str, Any]) -> tuple[str, ...]:
    field, template = "doc_to_choice", config.doc_to_choice
    if template is None:
        return ()
    if isinstance(template, str):
        found = document[template] if template in document else _listed(_render(field, template, document))
    else:
        found = template
    if not isinstance(found, list | tuple) or not all(isinstance(each, str) for each in found):
        raise DocumentRefused(field, "it must give a list of texts")
    if not 2 <= len(found) <= MOST_CHOICES or "" in found:
        raise DocumentRefused(field, f"it gives {len(found)} choices: from 2 to {MOST_CHOICES} are needed, none empty")
    return tuple(found)


def _listed(text: str) -> Any:
    try:
        return _literal(text)
    except (SyntaxError, ValueError) as error:
        raise DocumentRefused("doc_to_choice", f"{text[:100]!r} is no list") from error


def _literal(text: str) -> Any:
    """A constant that is written in Python's syntax, as templates write lists. Raises SyntaxError, ValueError."""
    try:
        found = ast.literal_eval(text)
        str(found)  # a number may be too long to be written
    except (MemoryError, RecursionError) as error:
        raise ValueError("nested too deeply") from error
    return found


def _place(answer: Any, choices: tuple[str, ...]) -> int:
    """Where the right choice stands: lm_eval counts a document without one as wrong, here it is refused."""
    if isinstance(answer, str) and answer in choices:
        return choices.index(answer)
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(choices):
        return answer
    raise DocumentRefused("doc_to_target", f"{str(answer)[:100]!r} is none of the {len(choices)} choices")


def _each(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _render(field: str, template: str, document: Mapping[str, Any]) -> str:
    try:
        return _compiled(template).render(**document)
    except jinja2.TemplateSyntaxError as error:
        raise DocumentRefused(field, f"not a Jinja template: {error.message} (line {error.lineno})") from error
    except (jinja2.TemplateError, TypeError, ValueError, LookupError, ArithmeticError, AttributeError) as error:
        raise DocumentRefused(field, f"{type(error).__name__}: {str(error)[:300]}") from error
    except RecursionError as error:
        raise DocumentRefused(field, "nested too deeply") from error


@lru_cache(maxsize=64)
def _compiled(source: str) -> jinja2.Template:
    return _ENVIRONMENT.from_string(source)


def _regex_replace(text: str, pattern: str, replacement: str, count: int = 0) -> str:
    return re.sub(pattern, replacement, text, count=count)


def _environment() -> jinja2.Environment:
    """lm_eval's environment (lm_eval/utils.py), in the sandbox."""
    environment = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, keep_trailing_newline=True)
    environment.filters["regex_replace"] = _regex_replace
    return environment


_ENVIRONMENT = _environment()
