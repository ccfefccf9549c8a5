"""calibrations

Runs that measure a judge and train nothing; no base model is needed for them.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

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


def downgrade() -> None:
    op.execute("DELETE FROM runs WHERE kind <> 'pipeline'")
    op.execute("DELETE FROM prompt_sets WHERE NOT listed")
    _allow_stages(*STAGE_KINDS)
    op.drop_column("prompt_sets", "listed")
    op.create_index(op.f("ix_runs_project_id_id"), "runs", ["project_id", "id"], unique=False)
    op.drop_index(op.f("ix_runs_project_id_kind_id"), table_name="runs")
    op.drop_constraint(op.f("ck_runs_pipeline_has_base_model"), "runs", type_="check")
    op.alter_column("runs", "base_model_id", nullable=False)
    op.drop_column("runs", "kind")


def _allow_stages(*kinds: str) -> None:
    """The CHECK of stages.kind with these values."""
    values = ", ".join(f"'{kind}'" for kind in kinds)
    op.drop_constraint(op.f("ck_stages_stagekind"), "stages", type_="check")
    op.create_check_constraint(op.f("ck_stages_stagekind"), "stages", f"kind IN ({values})")
