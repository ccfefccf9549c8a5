"""The scripted endpoint as a process of its own, as tests of the whole service use it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.judges.questions import question


@pytest.fixture
def base_url(tmp_path: Path) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.scripted_judge", "--port", "0", "--journal", str(tmp_path / "calls.jsonl")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
        process.terminate()


def test_answers_fails_as_scripted_and_keeps_a_journal(base_url: str, tmp_path: Path) -> None:
    server = base_url.removesuffix("/v1")
    body = {"model": "scripted-1", "messages": question().messages(), "logprobs": True, "top_logprobs": 3}
    with httpx.Client(trust_env=False) as client:
        assert client.put(f"{server}/script", json={"faults": ["500", "none"]}).status_code == 204
        assert client.post(f"{base_url}/chat/completions", json=body).status_code == 500
        reply = client.post(f"{base_url}/chat/completions", json=body).json()
        assert client.post(f"{base_url}/chat/completions", json=body, headers={"X-Fault": "418"}).status_code == 418
        journal = client.get(f"{server}/journal").json()
    assert reply["choices"][0]["message"]["content"] == "A"
    assert {top["token"] for top in reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]} == {"A", "B", "C"}
    assert [call["fault"] for call in journal["calls"]] == ["500", None, "418"]
    written = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    assert written == journal["calls"]
