"""How a process without a port says that it has begun its work: it touches the file that its starter named."""

from __future__ import annotations

import os
from pathlib import Path

READY_FILE = "RLAIF_READY_FILE"


def announce() -> None:
    """Touch the file that whoever started this process is waiting for, if anybody is."""
    if path := os.environ.get(READY_FILE):
        Path(path).touch()
