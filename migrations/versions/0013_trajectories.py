"""trajectories

Whether a candidate is known to have succeeded, and the stage that measures how often trajectories do.

Revision ID: 0013
Revises: 0012
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

STAGE_KINDS = ("warm_start", "sample", "judge", "calibrate", "prefer", "reward_model", "policy", "evaluate", "score")


def upgrade() -> None:
    _kinds((*STAGE_KINDS, "trajectories"))
    op.add_column(
        "prompts",
        sa.Column("outcomes", postgresql.JSONB(none_as_null=True), server_default=sa.text("'[]'"), nullable=False),
    )


def downgrade() -> None:
    op.drop_column("prompts", "outcomes")
    op.execute("DELETE FROM runs WHERE id IN (SELECT run_id FROM stages WHERE kind = 'trajectories')")
    _kinds(STAGE_KINDS)


def _kinds(values: tuple[str, ...]) -> None:
    known = ", ".join(f"'{value}'" for value in values)
    op.drop_constraint(op.f("ck_stages_stagekind"), "stages", type_="check")
    op.create_check_constraint(op.f("ck_stages_stagekind"), "stages", f"kind IN ({known})")
