"""The losses that preferences are learned by, and what each of them reads: one table for recipes and trainers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class PreferenceLoss(StrEnum):
    """All in soft-label form; `docs/training.md` says when to use which."""

    SIGMOID = "sigmoid"
    ROBUST = "robust"
    IPO = "ipo"
    SIGMOID_NORM = "sigmoid_norm"
    SIMPO = "simpo"
    ORPO = "orpo"
    KTO = "kto"


@dataclass(frozen=True, slots=True)
class LossSettings:
    """A loss's defaults, as its paper or its reference code gives them; None: the loss has no such setting."""

    beta: float
    sft_weight: float
    gamma: float | None = None
    label_smoothing: float | None = None
    has_reference: bool = True
    by_token: bool = False


LOSS_SETTINGS = MappingProxyType(
    {
        PreferenceLoss.SIGMOID: LossSettings(beta=0.1, sft_weight=0.5, label_smoothing=0.0),
        PreferenceLoss.ROBUST: LossSettings(beta=0.1, sft_weight=0.5, label_smoothing=0.1),
        PreferenceLoss.IPO: LossSettings(beta=0.1, sft_weight=0.5, by_token=True),
        PreferenceLoss.SIGMOID_NORM: LossSettings(beta=5.0, sft_weight=0.5, by_token=True),
        PreferenceLoss.SIMPO: LossSettings(beta=2.0, sft_weight=0.5, gamma=1.0, has_reference=False, by_token=True),
        PreferenceLoss.ORPO: LossSettings(beta=0.1, sft_weight=1.0, has_reference=False, by_token=True),
        PreferenceLoss.KTO: LossSettings(beta=0.1, sft_weight=0.5),
    }
)
"""`by_token`: completions are compared by their mean log-probability a token, not by its sum."""
