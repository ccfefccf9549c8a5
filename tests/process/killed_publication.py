"""Publications that die by SIGKILL at each of their lines: `python -m tests.process.killed_publication SOURCE STORES`.

Each store `STORES/1`, `STORES/2`, ... is left as the kill left it; the last one's publication came through.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from app import storage
from app.storage import ArtifactStore
from tests.killed_line import die_in, kill_at_line

KEY = "checkpoints/run/policy"


def dies(source: Path, root: Path, *, line: int) -> bool:
    """Publish in a fork; whether the kill came before its end."""

    def publish() -> None:
        kill_at_line(storage, line)
        ArtifactStore(root).publish(KEY, source)

    return die_in(publish) == signal.SIGKILL


def main(source: Path, stores: Path) -> None:
    line = 1
    while dies(source, stores / str(line), line=line):
        line += 1


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
