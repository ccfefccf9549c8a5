"""A model's chat template without transformers: read from its files, and rendered to the very text it renders.

Templates come from clients: they run in Jinja's immutable sandbox, with the functions that transformers gives them
(transformers, utils/chat_template_utils.py) and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn, Self

import jinja2
import jinja2.ext
import jinja2.nodes
import jinja2.parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

TEMPLATE_FILE = "chat_template.jinja"
SPECIAL_TOKENS = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")


class InvalidTemplate(ValueError):
    """There is no template, or it is not Jinja; the message says why."""


class TemplateRefused(ValueError):
    """The template would not render a conversation; the message is the template's own."""


class _GenerationTag(jinja2.ext.Extension):
    """transformers' own `{% generation %}`, around what an assistant wrote."""

    tags = {"generation"}  # noqa: RUF012  jinja2 declares it so

    def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def _raise(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own would escape for HTML."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _strftime_now(pattern: str) -> str:
    return datetime.now().strftime(pattern)  # noqa: DTZ005  local time, as transformers gives it


def _environment() -> jinja2.Environment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_GenerationTag, "jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _tojson
    environment.globals.update(raise_exception=_raise, strftime_now=_strftime_now)
    return environment


_ENVIRONMENT = _environment()


@dataclass(frozen=True, slots=True)
class ChatTemplate:
    """Jinja sources, one for conversations with tools where the model has one, and the special tokens they name."""

    default: str
    with_tools: str
    special_tokens: Mapping[str, str]

    @classmethod
    def read(
        cls, tokenizer_config: Mapping[str, Any], *, file: str | None = None, special_tokens: Mapping[str, Any]
    ) -> Self:
        """From `tokenizer_config.json`, or from the text of `chat_template.jinja`, which goes before it.

        `special_tokens` is the older `special_tokens_map.json`. Raises InvalidTemplate.
        """
        sources = _sources(tokenizer_config.get("chat_template") if file is None else file)
        default = _parsed(sources.get("default"))
        with_tools = _parsed(sources["tool_use"]) if "tool_use" in sources else default
        named = {name: special_tokens.get(name) or tokenizer_config.get(name) for name in SPECIAL_TOKENS}
        return cls(default, with_tools, {name: _content(token) for name, token in named.items() if token})

    def render(self, messages: Sequence[Mapping[str, Any]], *, tools: Sequence[Mapping[str, Any]] | None) -> str:
        """The conversation as text, up to the point where the assistant answers. Raises TemplateRefused."""
        template = self.default if tools is None else self.with_tools
        try:
            return _compiled(template).render(
                messages=[dict(message) for message in messages],
                tools=tools,
                documents=None,
                add_generation_prompt=True,
                **self.special_tokens,
            )
        except (jinja2.TemplateError, TypeError, ValueError, LookupError) as error:
            raise TemplateRefused(str(error)) from error


def _sources(template: Any) -> dict[str, Any]:
    """By name: a lone template is the default one."""
    if not isinstance(template, list):
        return {"default": template}
    return {str(entry.get("name")): entry.get("template") for entry in template if isinstance(entry, dict)}


def _parsed(source: Any) -> str:
    """Parsed and no more: compiling evaluates constants, and a client chose them."""
    if not isinstance(source, str) or not source.strip():
        raise InvalidTemplate(f"no chat template: set `chat_template`, or add the file {TEMPLATE_FILE}")
    try:
        _ENVIRONMENT.parse(source)
    except jinja2.TemplateSyntaxError as error:
        raise InvalidTemplate(f"the chat template is not Jinja: {error.message} (line {error.lineno})") from error
    except RecursionError as error:
        raise InvalidTemplate("the chat template is nested too deeply") from error
    return source


@lru_cache(maxsize=8)
def _compiled(source: str) -> jinja2.Template:
    return _ENVIRONMENT.from_string(source)


def _content(token: Any) -> str:
    """A special token is written as its text or as an object that holds it."""
    return str(token.get("content", "")) if isinstance(token, dict) else str(token)
