"""OpenAI's chat completions, which vLLM, SGLang, Ollama and most gateways speak too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.rlaif.judges import OpenAIJudge
from app.rlaif.questions import AnswerFormat, AnswerStyle
from app.rlaif.rendering import ChatMessages
from workers.judges.chat_reply import ChatReply
from workers.judges.dialect import Exchanged, room


class ChatCompletions:
    path = "/chat/completions"

    def __init__(self, spec: OpenAIJudge) -> None:
        self._spec = spec

    def headers(self, api_key: str | None) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {api_key}"} if api_key else {}

    def payload(self, messages: ChatMessages, format_: AnswerFormat) -> dict[str, Any]:
        spec = self._spec
        payload: dict[str, Any] = {
            "model": spec.model,
            "messages": list(messages),
            spec.token_limit_field: room(spec.max_tokens, format_),
        }
        if spec.temperature is not None:
            payload["temperature"] = spec.temperature
        if alternatives := min(spec.top_logprobs or 0, format_.alternatives):
            payload |= {"logprobs": True, "top_logprobs": alternatives}
        if spec.answer_format is AnswerStyle.JSON_SCHEMA and format_.schema is not None:
            schema = {"name": "answer", "strict": True, "schema": format_.schema}
            payload["response_format"] = {"type": "json_schema", "json_schema": schema}
        return payload

    def read(self, body: bytes) -> Exchanged:
        chat = ChatReply.model_validate_json(body)
        return Exchanged(chat.reply(), chat.text, None if chat.usage is None else chat.usage.counted())
