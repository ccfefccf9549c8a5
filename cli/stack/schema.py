"""Brings a database to the newest schema; safe to call from several processes at once (an advisory lock)."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import make_url
from sqlalchemy.exc import OperationalError

import migrations
from cli.stack.errors import ServerUnreachable


def migrate(database_url: str) -> None:
    """Run the migrations up to the newest. Raises ServerUnreachable, or what SQLAlchemy and Alembic raise."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("sqlalchemy.url", database_url.replace("%", "%%"))
    try:
        command.upgrade(config, "head")
    except OperationalError as error:
        url = make_url(database_url).render_as_string(hide_password=True)
        raise ServerUnreachable("PostgreSQL", url=url, reason=str(error.orig)) from error
