"""TRL beside ours: what its trainings of a test are given, and that a whole training is the same, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.training.tiny import Recorder

TRL_SETTINGS: dict[str, Any] = {
    "num_train_epochs": 1,
    "train_sampling_strategy": "sequential",
    "max_length": 128,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
    "use_cpu": True,
    "bf16": False,
    "activation_checkpointing": False,
}


def steps_alike(trainer: Any, progress: Recorder, *, loss: str = "loss") -> tuple[list[Any], list[Any]]:
    """Every loss and gradient norm of four steps is TRL's; what both logged, ours first."""
    expected = [log for log in trainer.state.log_history if "grad_norm" in log]
    ours = [metrics for _, _, metrics in progress.steps]
    assert len(ours) == len(expected) == 4
    assert [m[loss] for m in ours] == pytest.approx([log["loss"] for log in expected], rel=1e-4)
    assert [m["grad_norm"] for m in ours] == pytest.approx([log["grad_norm"] for log in expected], rel=1e-3)
    return ours, expected


def weights_alike(trainer: Any, model_dir: Path) -> None:
    trained = AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32).state_dict()
    for name, tensor in trainer.model.state_dict().items():
        torch.testing.assert_close(trained[name], tensor, rtol=1e-3, atol=2e-5)
