"""calibrations

Runs that measure a judge and train nothing, what they measured, and what is measured on a schedule.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

STAGE_KINDS = ("sample", "judge", "prefer", "reward_model", "policy", "evaluate")
RUN_KINDS = ("pipeline", "calibration", "trial")


def upgrade() -> None:
    kinds = sa.Enum(*RUN_KINDS, name="runkind", native_enum=False, create_constraint=True, length=32)
    op.add_column("runs", sa.Column("kind", kinds, server_default="pipeline", nullable=False))
    op.alter_column("runs", "base_model_id", nullable=True)
    op.create_check_constraint(
        op.f("ck_runs_pipeline_has_base_model"), "runs", "kind <> 'pipeline' OR base_model_id IS NOT NULL"
    )
    op.create_index(op.f("ix_runs_project_id_kind_id"), "runs", ["project_id", "kind", "id"], unique=False)
    op.drop_index(op.f("ix_runs_project_id_id"), table_name="runs")
    op.add_column("prompt_sets", sa.Column("listed", sa.Boolean(), server_default=sa.true(), nullable=False))
    _allow_stages(*STAGE_KINDS, "calibrate")
    op.alter_column("judges", "family", type_=sa.String(length=2000))
    _create_calibrations()
    _create_canaries()
    op.create_foreign_key(
        "fk_calibrations_canary_id", "calibrations", "canaries", ["canary_id"], ["id"], ondelete="CASCADE"
    )


def downgrade() -> None:
    op.drop_constraint("fk_calibrations_canary_id", "calibrations", type_="foreignkey")
    op.drop_table("canaries")
    op.drop_table("calibrations")
    op.execute("DELETE FROM runs WHERE kind <> 'pipeline'")
    op.execute("DELETE FROM prompt_sets WHERE NOT listed")
    _allow_stages(*STAGE_KINDS)
    op.drop_column("prompt_sets", "listed")
    op.create_index(op.f("ix_runs_project_id_id"), "runs", ["project_id", "id"], unique=False)
    op.drop_index(op.f("ix_runs_project_id_kind_id"), table_name="runs")
    op.drop_constraint(op.f("ck_runs_pipeline_has_base_model"), "runs", type_="check")
    op.alter_column("runs", "base_model_id", nullable=False)
    op.drop_column("runs", "kind")


def _create_calibrations() -> None:
    op.create_table(
        "calibrations",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("run_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("judge_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("rubric_revision_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("prompt_set_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("canary_id", sa.String(length=64, collation="C"), nullable=True),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("report", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("drift", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(canary_id IS NULL) = (due_at IS NULL)", name=op.f("ck_calibrations_canary_has_a_time")),
        sa.CheckConstraint(
            "drift IS NULL OR (canary_id IS NOT NULL AND report IS NOT NULL)",
            name=op.f("ck_calibrations_drift_of_a_canary"),
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_calibrations_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_calibrations_run_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["judge_id"], ["judges.id"], name=op.f("fk_calibrations_judge_id")),
        sa.ForeignKeyConstraint(
            ["rubric_revision_id"], ["rubric_revisions.id"], name=op.f("fk_calibrations_rubric_revision_id")
        ),
        sa.ForeignKeyConstraint(["prompt_set_id"], ["prompt_sets.id"], name=op.f("fk_calibrations_prompt_set_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calibrations")),
        sa.UniqueConstraint("run_id", name=op.f("uq_calibrations_run_id")),
        sa.UniqueConstraint("canary_id", "due_at", name=op.f("uq_calibrations_canary_id_due_at")),
    )
    op.create_index(op.f("ix_calibrations_project_id_id"), "calibrations", ["project_id", "id"], unique=False)


def _create_canaries() -> None:
    op.create_table(
        "canaries",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("baseline_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("every_hours", sa.Integer(), nullable=False),
        sa.Column("next_due_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("stopped_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("every_hours >= 1", name=op.f("ck_canaries_not_all_the_time")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_canaries_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["baseline_id"], ["calibrations.id"], name=op.f("fk_canaries_baseline_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_canaries")),
    )
    op.create_index(op.f("ix_canaries_project_id_id"), "canaries", ["project_id", "id"], unique=False)
    op.create_index(
        "ix_canaries_due",
        "canaries",
        ["next_due_at"],
        unique=False,
        postgresql_where=sa.text("stopped_at IS NULL"),
    )


def _allow_stages(*kinds: str) -> None:
    """The CHECK of stages.kind with these values."""
    values = ", ".join(f"'{kind}'" for kind in kinds)
    op.drop_constraint(op.f("ck_stages_stagekind"), "stages", type_="check")
    op.create_check_constraint(op.f("ck_stages_stagekind"), "stages", f"kind IN ({values})")
