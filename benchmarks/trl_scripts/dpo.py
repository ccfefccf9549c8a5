"""A policy by TRL's DPOTrainer: MODEL PAIRS OUT."""

from __future__ import annotations

import sys

import torch
from datasets import load_dataset
from trl import DPOConfig, DPOTrainer  # type: ignore[attr-defined]


def main(model: str, pairs: str, out: str) -> None:
    cuda = torch.cuda.is_available()
    config = DPOConfig(
        output_dir=out,
        learning_rate=2e-4,
        beta=0.1,
        loss_type=["sigmoid", "sft"],
        loss_weights=[1.0, 0.5],
        num_train_epochs=2,
        per_device_train_batch_size=16,
        max_length=256,
        precompute_ref_log_probs=True,
        activation_checkpointing=False,
        bf16=cuda,
        use_cpu=not cuda,
        report_to="none",
        disable_tqdm=True,
        seed=7,
    )
    trainer = DPOTrainer(model=model, args=config, train_dataset=load_dataset("json", data_files=pairs)["train"])
    trainer.train()
    trainer.save_model(out)


if __name__ == "__main__":
    main(*sys.argv[1:4])
