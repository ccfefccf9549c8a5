"""The stack's guard: a process that waits for the end of its supervisor, however that comes, and sweeps after it.

It inherits the lock on the data directory, so nobody else can start there before it has finished. It must import
nothing heavy: it only sleeps.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import IO, cast

from cli.stack.home import Home, Lock
from cli.stack.sweep import sweep


class Guard:
    """Held by the supervisor; the pipe to the guard closes when `dismiss` is called or the supervisor dies."""

    def __init__(self, home: Home, lock: Lock) -> None:
        with home.log("guard").open("ab") as output:
            self._popen = subprocess.Popen(  # noqa: S603 - the argument list is ours
                [sys.executable, "-P", "-m", "cli.stack.guard", str(home.root)],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=[lock.descriptor],
            )

    def dismiss(self) -> None:
        """Let it look for left-overs once and end."""
        cast(IO[bytes], self._popen.stdin).close()
        self._popen.wait()


def main() -> None:
    """Block until the supervisor's end of the pipe is closed, then end what it left running."""
    home = Home(Path(sys.argv[1]))
    sys.stdin.buffer.read()
    swept = sweep(home)
    if swept:
        print(f"the supervisor is gone; ended {', '.join(swept)}", flush=True)


if __name__ == "__main__":
    main()
