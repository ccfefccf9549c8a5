"""The `rlaif` command as a person and a script use it: each call a process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from cli.exits import Exit
from tests.process.service import Service


class Client:
    """`rlaif ARGUMENTS` with the service's address and key."""

    def __init__(self, service: Service, directory: Path) -> None:
        self.directory = directory
        self._environment = {
            **os.environ,
            "RLAIF_URL": service.address,
            "RLAIF_API_KEY": service.api_key(),
            "COLUMNS": "200",
        }

    def __call__(self, *arguments: str, status: int = Exit.OK, stdin: str = "", **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "cli.main", *arguments],
            cwd=self.directory,
            env=self._environment | environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert done.returncode == status, f"{arguments}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        self.errors = done.stderr
        return done.stdout

    def json(self, *arguments: str) -> Any:
        """Standard output is one JSON document, whatever else was said."""
        return json.loads(self(*arguments, "--json"))

    def write(self, name: str, content: object) -> str:
        (self.directory / name).write_text(content if isinstance(content, str) else json.dumps(content))
        return name
