"""Start a throw-away PostgreSQL, migrate it, and fail if the models would still change it."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError

from cli.stack.home import Home
from cli.stack.stack import Stack, StackOptions


def main() -> int:
    """0 when models and migrations agree, 1 when they differ; what differs is printed."""
    with (
        tempfile.TemporaryDirectory() as directory,
        Stack(Home.at(Path(directory)), StackOptions(durable=False)) as stack,
    ):
        stack.start("postgres")
        if stack.postgres:
            stack.postgres.ensure_database()
        config = Config("alembic.ini")
        config.set_main_option("sqlalchemy.url", stack.database_url.replace("%", "%%"))
        command.upgrade(config, "head")
        try:
            command.check(config)
        except CommandError as error:
            print(error, file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
