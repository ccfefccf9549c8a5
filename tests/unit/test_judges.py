from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from app.rlaif.judges import ChecksJudge, JudgeSpec, LocalJudge, OpenAIJudge

SPECS: TypeAdapter[Any] = TypeAdapter(JudgeSpec)
OPENAI = {"kind": "openai", "family": "gpt", "base_url": "https://api.example.com/v1", "model": "m"}
WORDS = {"kind": "words", "any_of": ["please"]}


class TestJudgeSpec:
    @pytest.mark.parametrize(
        ("given", "kind"),
        [
            ({"kind": "checks"}, ChecksJudge),
            (OPENAI, OpenAIJudge),
            ({"kind": "local", "family": "llama", "model": "model_1"}, LocalJudge),
        ],
    )
    def test_kind_decides_and_json_holds_it_all(self, given: dict[str, Any], kind: type[object]) -> None:
        spec = SPECS.validate_python(given)
        assert isinstance(spec, kind)
        assert SPECS.validate_json(SPECS.dump_json(spec)) == spec

    @pytest.mark.parametrize(
        ("given", "field"),
        [
            ({"kind": "oracle"}, "kind"),
            (OPENAI | {"tempreature": 0}, "tempreature"),
            (OPENAI | {"temperature": True}, "temperature"),
            (OPENAI | {"max_attempts": 0}, "max_attempts"),
            (OPENAI | {"timeout_s": float("inf")}, "timeout_s"),
            ({"kind": "checks", "sharpness": 0}, "sharpness"),
            ({"kind": "checks", "criteria": [{"name": "kind", "description": "Is kind."}]}, "kind"),
            (
                {
                    "kind": "checks",
                    "criteria": [{"name": "c", "description": "d", "check": {"kind": "pattern", "pattern": "("}}],
                },
                "check.pattern",
            ),
        ],
    )
    def test_bad_field_is_refused_and_named(self, given: dict[str, Any], field: str) -> None:
        with pytest.raises(ValidationError, match=field):
            SPECS.validate_python(given)

    @pytest.mark.parametrize(
        "url",
        [
            "api.example.com/v1",
            "ftp://example.com/v1",
            "file:///etc/passwd",
            "https://",
            "https://user:password@example.com/v1",
            "https://example.com/v1?key=1",
            "https://example.com/v1#part",
            "https://example.com:99999/v1",
        ],
    )
    def test_address_must_be_plain_http(self, url: str) -> None:
        with pytest.raises(ValidationError, match="base_url"):
            SPECS.validate_python(OPENAI | {"base_url": url})

    def test_trailing_slash_of_an_address_is_dropped(self) -> None:
        assert SPECS.validate_python(OPENAI | {"base_url": "http://localhost:8000/v1/"}).base_url.endswith("/v1")
