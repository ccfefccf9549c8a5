"""How strongly the policy is held to its reference: a fixed weight, or one that steers to a target divergence."""

from __future__ import annotations

from dataclasses import dataclass

_GAIN = 0.1
_CLIP = 0.2


@dataclass
class KLControl:
    """`beta` weighs the divergence from the reference, in nats a completion; with a `target` it moves.

    The proportional controller of Ziegler et al. (arXiv 1909.08593): beta <- beta (1 + 0.1 clip(KL / target - 1, 0.2)).
    """

    beta: float
    target: float | None

    def seen(self, kl: float) -> None:
        """Move `beta` after a step whose divergence was `kl`."""
        if self.target is not None:
            error = max(-_CLIP, min(_CLIP, kl / self.target - 1))
            self.beta *= 1 + _GAIN * error
