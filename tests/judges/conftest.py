from __future__ import annotations

import json
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def judge_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama with room for a whole question; A, B and C are one token each."""
    from tests.training.tiny import build_model  # torch: only for the tests that need a model

    directory = build_model(tmp_path_factory.mktemp("judge") / "model")
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 8192}))
    return directory
