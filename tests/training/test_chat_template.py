"""Rendering without transformers gives the very text that transformers gives, whatever files the template is in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.chat_template import ChatTemplate, InvalidTemplate, TemplateRefused
from tests.training.tiny import CHATML_TEMPLATE, build_model
from workers.sampling.language_model import load_tokenizer, render_prompt

TOOLS = [{"type": "function", "function": {"name": "tide", "parameters": {"é": "<b>", "a": [1, None]}}}]
MESSAGES: list[dict[str, Any]] = [
    {"role": "system", "content": 'Be <kind> & "brief".'},
    {"role": "user", "content": "the moon"},
    {"role": "assistant", "tool_calls": [{"type": "function", "function": {"name": "tide", "arguments": {"at": 3}}}]},
    {"role": "tool", "content": "low"},
]
WITH_EVERYTHING = """{{ bos_token }}
{%- if tools %}
    {% for tool in tools %}{{ tool | tojson(indent=2) }}{{ tool | tojson }}{% endfor %}
{% endif %}
{% set state = namespace(turn=0) %}
{% for message in messages %}
    {% set state.turn = state.turn + 1 %}
    {% if message.role == 'tool' %}{% continue %}{% endif %}
    {% generation %}{{ state.turn }}{{ message.content | default('', true) | trim }}{{ eos_token }}{% endgeneration %}
    {% if message.tool_calls %}{{ message.tool_calls[0].function | tojson }}{% endif %}
{% endfor %}
{% if add_generation_prompt %}assistant:{% endif %}"""
BY_NAME = [
    {"name": "default", "template": CHATML_TEMPLATE},
    {"name": "tool_use", "template": "{{ tools | length }}" + CHATML_TEMPLATE},
]


def read(directory: Path) -> ChatTemplate:
    file = directory / "chat_template.jinja"
    config = json.loads((directory / "tokenizer_config.json").read_text())
    return ChatTemplate.read(config, file=file.read_text() if file.exists() else None, special_tokens={})


@pytest.mark.parametrize("tools", [None, TOOLS])
@pytest.mark.parametrize("template", [CHATML_TEMPLATE, WITH_EVERYTHING, BY_NAME])
def test_it_renders_what_transformers_renders(
    tmp_path: Path, template: Any, tools: list[dict[str, Any]] | None
) -> None:
    directory = build_model(tmp_path / "model")
    (directory / "chat_template.jinja").unlink()
    config = json.loads((directory / "tokenizer_config.json").read_text())
    tokens = {"bos_token": "<|endoftext|>", "eos_token": {"__type": "AddedToken", "content": "<|im_end|>"}}
    (directory / "tokenizer_config.json").write_text(json.dumps(config | tokens | {"chat_template": template}))
    messages = MESSAGES if template is WITH_EVERYTHING else MESSAGES[:2]
    assert read(directory).render(messages, tools=tools) == render_prompt(
        load_tokenizer(directory), messages, tools=tools
    )


def test_the_file_goes_before_the_config(tmp_path: Path) -> None:
    directory = build_model(tmp_path / "model")
    config = json.loads((directory / "tokenizer_config.json").read_text())
    (directory / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": "other"}))
    assert read(directory).render(MESSAGES[:2], tools=None) == render_prompt(load_tokenizer(directory), MESSAGES[:2])


def test_the_template_s_own_refusal_is_told() -> None:
    template = ChatTemplate.read({"chat_template": "{{ raise_exception('roles must alternate') }}"}, special_tokens={})
    with pytest.raises(TemplateRefused, match="roles must alternate"):
        template.render(MESSAGES, tools=None)


@pytest.mark.parametrize("source", ["{{ ''.__class__.__mro__ }}", "{{ messages.append(1) }}"])
def test_it_cannot_leave_its_sandbox(source: str) -> None:
    template = ChatTemplate.read({"chat_template": source}, special_tokens={})
    with pytest.raises(TemplateRefused, match=r"unsafe|not safely"):
        template.render(MESSAGES, tools=None)


def test_nesting_beyond_the_parser_is_refused() -> None:
    with pytest.raises(InvalidTemplate, match="nested"):
        ChatTemplate.read({"chat_template": "{{" + "(" * 5000 + "1" + ")" * 5000 + "}}"}, special_tokens={})
