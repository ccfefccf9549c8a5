"""Alembic migrations: one migration, one concern; expand, backfill, contract."""
