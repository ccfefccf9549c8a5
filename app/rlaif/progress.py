"""How far a stage is, how fast it goes, and how long it will still take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` units after `elapsed_s` seconds."""

    done: int
    total: int
    elapsed_s: float

    @property
    def throughput(self) -> float | None:
        """Units a second; None before the first is done."""
        return self.done / self.elapsed_s if self.done > 0 and self.elapsed_s > 0 else None

    @property
    def eta_s(self) -> float | None:
        """Seconds until the rest is done at this pace; None while there is no pace."""
        rate = self.throughput
        return None if rate is None else max(0.0, self.total - self.done) / rate
