"""Seeds per unit of work, so that a resumed or re-sharded run is the same run."""

from __future__ import annotations

import hashlib


def derive_seed(run_seed: int, *parts: str | int) -> int:
    """A 63-bit seed that depends only on the run's seed and the unit's coordinates."""
    text = "\x1f".join(str(part) for part in (run_seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
