"""rounds and sweeps

A warm start before the first round, rounds that are skipped, and candidates of a sweep side by side.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

STAGE_KINDS = ("sample", "judge", "calibrate", "prefer", "reward_model", "policy", "evaluate")
STAGE_STATUSES = ("pending", "running", "succeeded", "failed", "cancelled", "reused")
CHECKPOINT_KINDS = ("reward_model", "policy")


def upgrade() -> None:
    _check("stages", "kind", "stagekind", ("warm_start", *STAGE_KINDS))
    _check("stages", "status", "stagestatus", (*STAGE_STATUSES, "skipped"))
    _check("checkpoints", "kind", "checkpointkind", ("warm_start", *CHECKPOINT_KINDS))
    for table in ("completions", "checkpoints", "metric_points"):
        op.add_column(table, sa.Column("candidate", sa.SmallInteger(), server_default="0", nullable=False))
    op.add_column("checkpoints", sa.Column("selected", sa.Boolean(), nullable=True))
    op.create_check_constraint(
        op.f("ck_checkpoints_policies_are_selected"), "checkpoints", "kind = 'policy' OR selected IS NULL"
    )
    _unique("completions", ["run_id", "round", "candidate", "split", "source", "prompt_id", "position"])
    op.drop_constraint(op.f("uq_checkpoints_run_id_round_kind_step"), "checkpoints", type_="unique")
    op.create_unique_constraint("uq_checkpoints_unit", "checkpoints", ["run_id", "round", "candidate", "kind", "step"])
    _points_key(["stage_id", "candidate", "step"])


def downgrade() -> None:
    for table in ("completions", "checkpoints", "metric_points"):
        op.execute(f"DELETE FROM {table} WHERE candidate > 0")  # noqa: S608  names of this file
    op.execute("DELETE FROM checkpoints WHERE kind = 'warm_start'")
    op.execute("DELETE FROM stages WHERE kind = 'warm_start' OR status = 'skipped'")
    _points_key(["stage_id", "step"])
    op.drop_constraint("uq_checkpoints_unit", "checkpoints", type_="unique")
    op.create_unique_constraint(
        op.f("uq_checkpoints_run_id_round_kind_step"), "checkpoints", ["run_id", "round", "kind", "step"]
    )
    _unique("completions", ["run_id", "round", "split", "source", "prompt_id", "position"])
    op.drop_constraint(op.f("ck_checkpoints_policies_are_selected"), "checkpoints", type_="check")
    op.drop_column("checkpoints", "selected")
    for table in ("metric_points", "checkpoints", "completions"):
        op.drop_column(table, "candidate")
    _check("checkpoints", "kind", "checkpointkind", CHECKPOINT_KINDS)
    _check("stages", "status", "stagestatus", STAGE_STATUSES)
    _check("stages", "kind", "stagekind", STAGE_KINDS)


def _check(table: str, column: str, name: str, values: tuple[str, ...]) -> None:
    known = ", ".join(f"'{value}'" for value in values)
    op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
    op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, f"{column} IN ({known})")


def _unique(table: str, columns: list[str]) -> None:
    op.drop_constraint(f"uq_{table}_unit", table, type_="unique")
    op.create_unique_constraint(f"uq_{table}_unit", table, columns)


def _points_key(columns: list[str]) -> None:
    op.drop_constraint(op.f("pk_metric_points"), "metric_points", type_="primary")
    op.create_primary_key(op.f("pk_metric_points"), "metric_points", columns)
