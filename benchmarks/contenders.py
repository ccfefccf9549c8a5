"""The same training by our `train_dpo` and by TRL's `DPOTrainer`: from a model directory to a trained model directory.

Both load the model, tokenize, take the reference's log-probabilities, train one epoch on sigmoid + 0.5 sft at beta 0.1,
save one state with the optimiser's at the end, and save the model. Imports both libraries: import it in a warm process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig as PeftConfig
from transformers import PrinterCallback
from trl import DPOConfig as TRLConfig  # type: ignore[attr-defined]
from trl import DPOTrainer  # type: ignore[attr-defined]

from app.rlaif.health import Alarm
from app.rlaif.training import LoraConfig
from benchmarks.measurement import Contender, Trained
from benchmarks.workload import Workload
from workers.training.checkpoint import load_policy
from workers.training.completion_logprobs import CompletionScorer
from workers.training.contracts import PreferencePair
from workers.training.dpo import DPOConfig, group_of, train_dpo
from workers.training.pairs import EncodedPair, PairEncoder

BETA = 0.1
SFT_WEIGHT = 0.5
MAX_LENGTH = 1024
LORA = LoraConfig()


class OtherTokens(Exception):
    """Raised when the two libraries do not train on the same tokens, so that nothing about them can be compared."""

    def __init__(self, pair: EncodedPair) -> None:
        super().__init__(f"pair {pair.id}: TRL's token ids differ from ours; the template must end in the stop token")


@dataclass
class Steps:
    """A progress that keeps what each step reported."""

    metrics: list[Mapping[str, float]] = field(default_factory=list)

    def report(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        self.metrics.append(metrics)

    def alarm(self, alarm: Alarm) -> None:
        raise RuntimeError(str(alarm))

    def should_stop(self) -> bool:
        return False


def train(
    contender: Contender, model_dir: Path, pairs: Sequence[PreferencePair], out_dir: Path, *, workload: Workload
) -> Trained:
    """One epoch by one contender."""
    if contender is Contender.OURS:
        return _train_ours(model_dir, pairs, out_dir, workload)
    adapters = PeftConfig(r=LORA.rank, lora_alpha=LORA.alpha, target_modules="all-linear") if workload.lora else None
    settings = _settings(contender)
    trainer = _trl(model_dir, pairs, out_dir, settings, batch_size=workload.batch_size, adapters=adapters)
    loss: float = trainer.train().training_loss
    trainer.save_model(str(out_dir / "model"))
    return Trained(steps=trainer.state.global_step, loss=loss, first_preference_loss=None)


def logprob_gap(model_dir: Path, pairs: Sequence[PreferencePair], out_dir: Path) -> float:
    """max |ours - TRL's| over the completions' log-probabilities (nats), the pairs as one batch, in float32.

    Raises `OtherTokens`.
    """
    policy = load_policy(model_dir)
    encoder = PairEncoder(policy.tokenizer, policy.stop_ids, MAX_LENGTH, close_truncated=False)
    encoded = encoder.encode_pairs(pairs).pairs
    float32 = {"bf16": False, "activation_checkpointing": False, "precompute_ref_log_probs": True}
    trainer = _trl(model_dir, pairs, out_dir, float32, batch_size=len(pairs))
    rows = list(trainer.train_dataset)
    for pair, row in zip(encoded, rows, strict=True):
        if [pair.prompt, pair.first, pair.second] != [tuple(row[f"{k}_ids"]) for k in ("prompt", "chosen", "rejected")]:
            raise OtherTokens(pair)
    with torch.no_grad():
        sums = CompletionScorer(policy.model).sums([group_of(pair, None) for pair in encoded])
    theirs = torch.tensor([(row["ref_chosen_logps"], row["ref_rejected_logps"]) for row in rows])
    return float((sums.view(-1, 2).cpu() - theirs).abs().max())


def _train_ours(model_dir: Path, pairs: Sequence[PreferencePair], out_dir: Path, workload: Workload) -> Trained:
    config = DPOConfig(
        model_dir=model_dir,
        epochs=1,
        batch_size=workload.batch_size,
        lora=LORA if workload.lora else None,
        beta=BETA,
        sft_weight=SFT_WEIGHT,
        max_length=MAX_LENGTH,
        save_steps=500,  # TRL's default
    )
    steps = Steps()
    result = train_dpo(config, pairs, out_dir, steps)
    return Trained(result.steps, sum(result.losses) / result.steps, steps.metrics[0]["preference_loss"])


def _settings(contender: Contender) -> dict[str, Any]:
    """What a contender changes in TRL's defaults; without checkpointing its precision is ours on either device."""
    if contender is Contender.TRL_DEFAULT:
        return {}
    plain = {"activation_checkpointing": False, "bf16": torch.cuda.is_available()}
    precomputed = contender is Contender.TRL_PRECOMPUTED
    return plain | {"precompute_ref_log_probs": precomputed, "use_liger_kernel": contender is Contender.TRL_LIGER}


def _trl(
    model_dir: Path,
    pairs: Sequence[PreferencePair],
    out_dir: Path,
    settings: Mapping[str, Any],
    *,
    batch_size: int,
    adapters: PeftConfig | None = None,
) -> Any:
    """TRL's trainer; all but the loss, the schedule's length and `settings` is as TRL sets it."""
    arguments = TRLConfig(
        output_dir=str(out_dir),
        beta=BETA,
        loss_type=["sigmoid", "sft"],
        loss_weights=[1.0, SFT_WEIGHT],
        num_train_epochs=1,
        per_device_train_batch_size=batch_size,
        use_cpu=not torch.cuda.is_available(),
        report_to="none",
        disable_tqdm=True,
        **settings,
    )
    rows = Dataset.from_list([_row(pair) for pair in pairs])
    trainer: Any = DPOTrainer(model=str(model_dir), args=arguments, train_dataset=rows, peft_config=adapters)
    trainer.remove_callback(PrinterCallback)
    return trainer


def _row(pair: PreferencePair) -> dict[str, Any]:
    chosen, rejected = ([{"role": "assistant", "content": text}] for text in (pair.first, pair.second))
    return {"prompt": list(pair.prompt), "chosen": chosen, "rejected": rejected}
