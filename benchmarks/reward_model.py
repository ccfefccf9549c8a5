"""A reward model measured against people's choices on dialogues that it has not seen: `make bench-reward-model`.

Reads public data that stands beside the project (`../shared/data`, or --data DIR). A small language model is first
trained on the train dialogues; the reward model starts from it, as a run's starts from its base model. Settings were
tried on a fifth of the train prompts, before the held-out ones were looked at.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from app.rlaif.evidence import EnsembleMetrics, HeldOutMetrics
from app.rlaif.health import Alarm
from benchmarks.figures import Figure, conclude, show
from benchmarks.harmlessness import FILE, Dialogues, language_model, read_dialogues
from workers.training.contracts import Optimisation
from workers.training.reward_model import RewardModelConfig, RewardModelData, train_reward_model

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
MAX_LENGTH = 384
SEED = 0


@dataclass
class Steps:
    """A progress that says once in a while how far it is."""

    name: str
    began: float = field(default_factory=time.monotonic)

    def report(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        if step % 100 == 0 or step == total:
            print(f"{self.name}: {step}/{total}, loss {metrics['loss']:.3f}, {time.monotonic() - self.began:.0f} s")

    def alarm(self, alarm: Alarm) -> None:
        print(f"{self.name}: {alarm}")

    def should_stop(self) -> bool:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--members", type=int, default=3)
    asked = parser.parse_args()
    if not (asked.data / FILE).exists():
        print(
            f"skipped: {asked.data / FILE} is not there; give the directory that holds it with --data (make: DATA=DIR)"
        )
        return 2
    dialogues = read_dialogues(asked.data / FILE)
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch) / "base"
        parameters = language_model(dialogues.train, base, settings(base), Steps("language model"))
        result = train_reward_model(
            reward_settings(base, members=asked.members),
            RewardModelData(dialogues.train, dialogues.held_out),
            Path(scratch) / "reward-model",
            Steps("reward model"),
        )
    _show(dialogues, parameters, result.held_out, result.ensemble)
    return conclude(figures(result.held_out))


def settings(base: Path) -> Optimisation:
    """Of the language model."""
    return Optimisation(
        model_dir=base, learning_rate=2e-3, epochs=2, batch_size=16, max_length=MAX_LENGTH, weight_decay=0.01, seed=SEED
    )


def reward_settings(base: Path, *, members: int) -> RewardModelConfig:
    return RewardModelConfig(
        model_dir=base, learning_rate=3e-4, epochs=2, batch_size=16, max_length=MAX_LENGTH, members=members, seed=SEED
    )


def figures(held_out: HeldOutMetrics) -> list[Figure]:
    accuracy, longer = held_out.held_out_accuracy, held_out.prefer_longer_accuracy
    assert accuracy is not None  # noqa: S101  every label prefers a side
    assert longer is not None  # noqa: S101  as above
    return [
        Figure("held_out_accuracy_over_prefer_longer", accuracy.value, ">=", longer),
        Figure("held_out_accuracy_over_prefer_shorter", accuracy.value, ">=", 1 - longer),
        Figure("held_out_accuracy_interval_low", accuracy.low, ">=", 0.5),
    ]


def _show(dialogues: Dialogues, parameters: int, held_out: HeldOutMetrics, ensemble: EnsembleMetrics | None) -> None:
    accuracy = held_out.held_out_accuracy
    rows = [
        (
            "train, held-out and left-out pairs",
            f"{len(dialogues.train)}, {len(dialogues.held_out)}, {dialogues.left_out}",
        ),
        ("parameters", f"{parameters / 1e6:.2f} M"),
        ("prefer the longer", f"{held_out.prefer_longer_accuracy:.3f}"),
        (
            "held-out accuracy",
            "-" if accuracy is None else f"{accuracy.value:.3f} ({accuracy.low:.3f}..{accuracy.high:.3f})",
        ),
        ("where the shorter is right", f"{held_out.shorter_right_accuracy:.3f}"),
        ("calibration error", f"{held_out.ece:.3f}"),
        ("correlation of reward and length", f"{held_out.length_correlation:+.3f}"),
    ]
    if ensemble is not None:
        rows += [
            ("members by themselves", ", ".join(f"{value:.3f}" for value in ensemble.member_accuracies)),
            ("pairs on which members differ", f"{ensemble.disagreement:.3f}"),
        ]
    show("Reward model on the harmlessness dialogues of hh-rlhf", ("figure", "value"), rows)


if __name__ == "__main__":
    raise SystemExit(main())
