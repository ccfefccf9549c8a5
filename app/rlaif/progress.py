"""How far a stage is, how fast it goes, and how long it will still take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` units, `paced` of them in the last `elapsed_s` seconds of uninterrupted work."""

    done: int
    total: int
    paced: int
    elapsed_s: float

    @property
    def throughput(self) -> float | None:
        """Units a second; None before the first is done."""
        return self.paced / self.elapsed_s if self.paced > 0 and self.elapsed_s > 0 else None

    @property
    def eta_s(self) -> float | None:
        """Seconds until the rest is done at this pace; None while there is no pace."""
        rate = self.throughput
        return None if rate is None else max(0.0, self.total - self.done) / rate
