from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.judges.running import PROVIDER


@pytest.fixture(params=["openai", "anthropic"])
def provider(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a test once with each provider's API."""
    token = PROVIDER.set(request.param)
    yield str(request.param)
    PROVIDER.reset(token)


@pytest.fixture(scope="session")
def judge_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama with room for a whole question; A, B and C are one token each."""
    from tests.training.tiny import build_model  # torch: only for the tests that need a model

    directory = build_model(tmp_path_factory.mktemp("judge") / "model")
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 8192}))
    return directory


@pytest.fixture(scope="session")
def reward_model_dir(judge_model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with a random scalar head."""
    from workers.training.checkpoint import load_scalar_model, save_model  # torch: only for the tests that need a model

    directory = tmp_path_factory.mktemp("reward") / "model"
    untrained = load_scalar_model(judge_model_dir, seed=1)
    save_model(untrained.model, untrained.tokenizer, directory, base_dir=judge_model_dir)
    return directory
