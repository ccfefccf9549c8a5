"""A token bucket, told the time: so much a second, and no more at once than a moment's worth."""

from __future__ import annotations

BURST_S = 0.05


class Bucket:
    """`rate` is units a second; None lets everything through. What asks for more than it holds leaves a debt.

    It holds what gathers in `burst_s`, and one unit at least.
    """

    def __init__(self, rate: float | None, *, now: float, burst_s: float = BURST_S) -> None:
        self.rate = rate
        self._burst_s = burst_s
        self._level = 0.0 if rate is None else self._most(rate)
        self._filled_at = now

    def set_rate(self, rate: float | None, *, now: float) -> None:
        """From now on; what has gathered stays, as far as the new rate allows."""
        self._fill(now)
        if self.rate is None and rate is not None:
            self._level = self._most(rate)
        self.rate = rate

    def wait_s(self, amount: float, *, now: float) -> float:
        """How long until so much may be taken; 0 for at once."""
        if self.rate is None:
            return 0.0
        self._fill(now)
        return max(min(amount, self._most(self.rate)) - self._level, 0.0) / self.rate

    def take(self, amount: float) -> None:
        """After `wait_s` said 0; fewer than nothing gives back."""
        self._level -= amount

    def drain(self, *, until: float) -> None:
        """Begin at `until` with next to nothing, so that what waited does not come all at once."""
        self._level = min(self._level, 1.0)
        self._filled_at = max(self._filled_at, until)

    def _fill(self, now: float) -> None:
        if self.rate is not None:
            gathered = max(now - self._filled_at, 0.0) * self.rate
            self._level = min(self._most(self.rate), self._level + gathered)
        self._filled_at = max(self._filled_at, now)

    def _most(self, rate: float) -> float:
        return max(1.0, rate * self._burst_s)
