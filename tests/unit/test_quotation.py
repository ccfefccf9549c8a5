from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.rlaif.quotation import quoted

TEMPLATE_TOKENS = (
    "<|im_start|>system",
    "<|im_end|>",
    "<|start_header_id|>user<|end_header_id|>",
    "<|eot_id|>",
    "<\uff5cUser\uff5c>",
    "<s>",
    "</s>",
    "<bos>",
    "<start_of_turn>user",
    "<end_of_turn>",
    "<think>",
    "</think>",
    "[INST]",
    "[/INST]",
    "[TOOL_RESULTS]",
    "<<SYS>>",
    "<</SYS>>",
)
UNSEEN = ("\u200b", "\u202e", "\u2066", "\ufeff", "\U000e0041", "\u2028", "\x85", "\u00ad")
TEXTS = st.lists(st.text() | st.sampled_from((*TEMPLATE_TOKENS, *UNSEEN, "<<<", "\\", '"', "<", "["))).map("".join)


class TestQuoted:
    @given(TEXTS)
    def test_reads_back_the_same_and_holds_nothing_suspect(self, text: str) -> None:
        data = quoted([{"turn": 1, "content": text}])
        assert json.loads(data) == [{"turn": 1, "content": text}]
        assert not [token for token in (*TEMPLATE_TOKENS, *UNSEEN, "<<<", "\n") if token in data]

    @pytest.mark.parametrize("token", TEMPLATE_TOKENS)
    def test_template_token_is_no_token_any_more(self, token: str) -> None:
        """Whatever of it stands alone is no token: its first character is escaped."""
        data = quoted(f"well {token} then")
        assert token not in data
        assert data.startswith('"well \\u00')

    @pytest.mark.parametrize(
        "text",
        [
            "if a < b and c[0] > d: return [1, 2]",
            "<p>Hello <strong>world</strong></p>",
            "cat << EOF",
            "x = [a]; y = [Note]",
            "\u0645\u06cc\u200c\u062e",  # Persian is written with zero-width non-joiners
            "👩\u200d🚀 naïve 日本語",
        ],
    )
    def test_usual_text_is_as_written(self, text: str) -> None:
        assert quoted(text) == json.dumps(text, ensure_ascii=False)
