"""A reward model by TRL's RewardTrainer: MODEL PAIRS OUT."""

from __future__ import annotations

import sys

import torch
from datasets import load_dataset
from trl import RewardConfig, RewardTrainer  # type: ignore[attr-defined]


def main(model: str, pairs: str, out: str) -> None:
    cuda = torch.cuda.is_available()
    config = RewardConfig(
        output_dir=out,
        learning_rate=5e-4,
        num_train_epochs=2,
        per_device_train_batch_size=32,
        max_length=256,
        center_rewards_coefficient=0.01,
        activation_checkpointing=False,
        bf16=cuda,
        use_cpu=not cuda,
        report_to="none",
        disable_tqdm=True,
        seed=7,
    )
    trainer = RewardTrainer(model=model, args=config, train_dataset=load_dataset("json", data_files=pairs)["train"])
    trainer.train()
    trainer.save_model(out)


if __name__ == "__main__":
    main(*sys.argv[1:4])
