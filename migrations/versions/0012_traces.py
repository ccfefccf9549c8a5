"""traces

Standing cohorts and the production traces that they are drawn from.

Revision ID: 0012
Revises: 0011
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "standing_cohorts",
        _id("id"),
        _id("project_id"),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("cohort", sa.String(length=100), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("maximum_age_days", sa.Integer(), nullable=True),
        _id("prompt_set_id", nullable=True),
        sa.Column("refreshed_at", sa.DateTime(timezone=True), nullable=True),
        _created_at(),
        sa.CheckConstraint("size >= 1", name=op.f("ck_standing_cohorts_draws_something")),
        sa.CheckConstraint(
            "(prompt_set_id IS NULL) = (refreshed_at IS NULL)", name=op.f("ck_standing_cohorts_drawn_at_a_time")
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_standing_cohorts_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["prompt_set_id"], ["prompt_sets.id"], name=op.f("fk_standing_cohorts_prompt_set_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_standing_cohorts")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_standing_cohorts_project_id_name")),
    )
    op.create_table(
        "traces",
        _id("id"),
        _id("project_id"),
        _id("standing_cohort_id"),
        sa.Column("prompt_hash", sa.String(length=64), nullable=False),
        sa.Column("messages", postgresql.JSONB(none_as_null=True), nullable=False),
        sa.Column("tools", postgresql.JSONB(none_as_null=True), nullable=True),
        sa.Column("response", postgresql.JSONB(none_as_null=True), nullable=False),
        sa.Column("model", sa.String(length=100), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        _created_at(),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_traces_project_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["standing_cohort_id"],
            ["standing_cohorts.id"],
            name=op.f("fk_traces_standing_cohort_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_traces")),
        sa.UniqueConstraint("standing_cohort_id", "prompt_hash", name="uq_traces_unit"),
    )
    op.create_index(op.f("ix_traces_standing_cohort_id_id"), "traces", ["standing_cohort_id", "id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_traces_standing_cohort_id_id"), table_name="traces")
    op.drop_table("traces")
    op.drop_table("standing_cohorts")


def _id(name: str, *, nullable: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.String(length=64, collation="C"), nullable=nullable)


def _created_at() -> sa.Column[object]:
    return sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
