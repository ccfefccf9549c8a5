"""evaluations

Evaluations without training: of a model or an endpoint against another, not only of a checkpoint.

Revision ID: 0011
Revises: 0010
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

RUN_KINDS = ("pipeline", "calibration", "trial", "scoring")


def upgrade() -> None:
    _kinds((*RUN_KINDS, "evaluation"))
    op.alter_column("evaluations", "checkpoint_id", nullable=True)
    op.add_column("evaluations", sa.Column("measured_id", sa.String(length=64, collation="C"), nullable=True))
    op.create_unique_constraint(op.f("uq_evaluations_run_id_measured_id"), "evaluations", ["run_id", "measured_id"])
    op.create_check_constraint(
        op.f("ck_evaluations_of_one_thing"), "evaluations", "(checkpoint_id IS NULL) <> (measured_id IS NULL)"
    )


def downgrade() -> None:
    op.execute("DELETE FROM runs WHERE kind = 'evaluation'")
    op.drop_constraint(op.f("ck_evaluations_of_one_thing"), "evaluations", type_="check")
    op.drop_constraint(op.f("uq_evaluations_run_id_measured_id"), "evaluations", type_="unique")
    op.drop_column("evaluations", "measured_id")
    op.alter_column("evaluations", "checkpoint_id", nullable=False)
    _kinds(RUN_KINDS)


def _kinds(values: tuple[str, ...]) -> None:
    known = ", ".join(f"'{value}'" for value in values)
    op.drop_constraint(op.f("ck_runs_runkind"), "runs", type_="check")
    op.create_check_constraint(op.f("ck_runs_runkind"), "runs", f"kind IN ({known})")
