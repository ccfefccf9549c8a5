"""Brings a database to the newest schema; safe to call from several processes at once (an advisory lock)."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config

import migrations


def migrate(database_url: str, *, revision: str = "head") -> None:
    """Run the migrations up to a revision. Errors are those of SQLAlchemy and Alembic."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("sqlalchemy.url", database_url.replace("%", "%%"))
    command.upgrade(config, revision)
