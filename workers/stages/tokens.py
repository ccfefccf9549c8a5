"""Token ids without torch: enough to measure a prompt and a text, and to see where two texts are cut."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Self

from tokenizers import Tokenizer as FastTokenizer

from app.chat_template import TEMPLATE_FILE, ChatTemplate, InvalidTemplate, TemplateRefused
from app.repositories.prompts import PromptRow
from workers.stages.contract import StageContext, StageRefused
from workers.stages.weights import verified_text

_WINDOW_KEYS = ("max_position_embeddings", "n_positions")


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """The tokenizer and the chat template of a model, and its window: the positions it has, None where it says none."""

    window: int | None
    _fast: FastTokenizer
    _template: ChatTemplate

    @classmethod
    def load(cls, context: StageContext, storage_key: str) -> Self:
        """Raises StageRefused for a model whose tokenizer is missing, damaged, or not to be loaded."""
        text = verified_text(context, storage_key, "tokenizer.json")
        config = _document(context, storage_key, "config.json")
        window = next((config[key] for key in _WINDOW_KEYS if isinstance(config.get(key), int)), None)
        return cls(window, _fast(text, storage_key), _template(context, storage_key))

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._fast.encode(text, add_special_tokens=False).ids
        return ids

    def count_prompt(self, prompt: PromptRow) -> int:
        """Tokens of the prompt as the model is asked it, with its tools and in the template. Raises StageRefused."""
        try:
            return len(self.encode(self._template.render(prompt.messages, tools=prompt.tools)))
        except TemplateRefused as error:
            raise StageRefused(
                "template_refuses_prompt",
                f"the base model's chat template does not render prompt {prompt.external_id!r}: {error}; change the "
                "prompt's messages or tools, or the template",
            ) from error


def _fast(text: str | None, storage_key: str) -> FastTokenizer:
    try:
        return FastTokenizer.from_str(text or "")
    except Exception as error:  # the library raises nothing narrower
        raise StageRefused(
            "no_tokenizer", f"{storage_key}/tokenizer.json is missing or cannot be loaded ({error}): register it again"
        ) from error


def _template(context: StageContext, storage_key: str) -> ChatTemplate:
    try:
        return ChatTemplate.read(
            _document(context, storage_key, "tokenizer_config.json"),
            file=verified_text(context, storage_key, TEMPLATE_FILE),
            special_tokens=_document(context, storage_key, "special_tokens_map.json"),
        )
    except InvalidTemplate as error:
        raise StageRefused("no_chat_template", f"{storage_key}: {error}, and register the model again") from error


def _document(context: StageContext, storage_key: str, name: str) -> dict[str, Any]:
    """A JSON object; an absent file says nothing."""
    text = verified_text(context, storage_key, name)
    document: dict[str, Any] = {} if text is None else json.loads(text)
    return document
