"""verdict cache

Replies that were paid for, what workers know together of an endpoint, and what replies from the cache saved.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "verdict_cache",
        _project(),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("reply", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("cost_usd", sa.Numeric(precision=18, scale=9), nullable=False),
        _created_at(),
        _of_project("verdict_cache"),
        sa.PrimaryKeyConstraint("project_id", "key", name=op.f("pk_verdict_cache")),
    )
    op.create_index(op.f("ix_verdict_cache_project_id_created_at"), "verdict_cache", ["project_id", "created_at"])
    op.create_table(
        "deployment_keys",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        _created_at(),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_deployment_keys")),
    )
    op.execute(
        "INSERT INTO deployment_keys (name, value) "
        "VALUES ('delimiters', sha256(convert_to(gen_random_uuid()::text || gen_random_uuid()::text, 'UTF8')))"
    )
    _create_endpoints()
    op.add_column("verdicts", sa.Column("cached", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("verdicts", _saved_usd())
    op.add_column("stages", sa.Column("answers", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("stages", sa.Column("cached_answers", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("stages", _saved_usd())
    op.add_column("stages", sa.Column("prices", postgresql.JSONB(none_as_null=True), nullable=True))


def _create_endpoints() -> None:
    op.create_table(
        "endpoint_states",
        _project(),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("rate_ceiling", sa.Float(), nullable=True),
        sa.Column("rate_cut_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rate_period_s", sa.Float(), nullable=False),
        sa.Column("flight_ceiling", sa.Float(), nullable=True),
        sa.Column("flight_cut_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cuts", sa.Integer(), nullable=False),
        sa.Column("held_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("open_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("opened", sa.Integer(), nullable=False),
        sa.Column("probe_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("detail", sa.String(length=500), nullable=True),
        sa.CheckConstraint(
            "probe_until IS NULL OR open_until IS NOT NULL", name=op.f("ck_endpoint_states_probe_when_open")
        ),
        _of_project("endpoint_states"),
        sa.PrimaryKeyConstraint("project_id", "key", name=op.f("pk_endpoint_states")),
    )
    op.create_table(
        "endpoint_members",
        _project(),
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("member", sa.String(length=64), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("in_flight", sa.Integer(), nullable=False),
        sa.Column("per_second", sa.Float(), nullable=False),
        sa.Column("recent_calls", sa.Float(), nullable=False),
        sa.Column("recent_failures", sa.Float(), nullable=False),
        _of_project("endpoint_members"),
        sa.PrimaryKeyConstraint("project_id", "key", "member", name=op.f("pk_endpoint_members")),
    )


def _project() -> sa.Column[str]:
    return sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False)


def _of_project(table: str) -> sa.ForeignKeyConstraint:
    name = op.f(f"fk_{table}_project_id")
    return sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=name, ondelete="CASCADE")


def _created_at() -> sa.Column[object]:
    return sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)


def _saved_usd() -> sa.Column[object]:
    return sa.Column("saved_usd", sa.Numeric(precision=18, scale=9), server_default="0", nullable=False)


def downgrade() -> None:
    op.drop_column("stages", "prices")
    op.drop_column("stages", "saved_usd")
    op.drop_column("stages", "cached_answers")
    op.drop_column("stages", "answers")
    op.drop_column("verdicts", "saved_usd")
    op.drop_column("verdicts", "cached")
    op.drop_table("endpoint_members")
    op.drop_table("endpoint_states")
    op.drop_table("deployment_keys")
    op.drop_table("verdict_cache")
