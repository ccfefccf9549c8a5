"""Exit codes of the `rlaif` command, stable so that scripts can branch on them."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """What the command's exit status says; 2 is click's own for a wrong option."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    ALREADY_RUNNING = 3
    REFUSED = 4
    UNREACHABLE = 5
