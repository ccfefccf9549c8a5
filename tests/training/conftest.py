from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.training.tiny import CHATML_TEMPLATE, PLAIN_TEMPLATE, build_model


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama with a ChatML template, which puts a line break after each stop token."""
    return build_model(tmp_path_factory.mktemp("model") / "chatml", template=CHATML_TEMPLATE)


@pytest.fixture(scope="session")
def plain_model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a template that puts nothing after the stop token, so TRL sees the very same tokens."""
    return build_model(tmp_path_factory.mktemp("model") / "plain", template=PLAIN_TEMPLATE)


@pytest.fixture(autouse=True)
def _two_threads() -> Iterator[None]:
    """Sums over other numbers of threads differ in the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
