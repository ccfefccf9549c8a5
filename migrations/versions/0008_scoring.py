"""scoring

Runs that only score given texts with a reward model, and how far an ensemble's members spread.

Revision ID: 0008
Revises: 0007
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

RUN_KINDS = ("pipeline", "calibration", "trial")
STAGE_KINDS = ("warm_start", "sample", "judge", "calibrate", "prefer", "reward_model", "policy", "evaluate")


def upgrade() -> None:
    _check("runs", "kind", "runkind", (*RUN_KINDS, "scoring"))
    _check("stages", "kind", "stagekind", (*STAGE_KINDS, "score"))
    op.add_column("completions", sa.Column("reward_spread", sa.Float(), nullable=True))


def downgrade() -> None:
    op.drop_column("completions", "reward_spread")
    op.execute("DELETE FROM runs WHERE kind = 'scoring'")
    _check("stages", "kind", "stagekind", STAGE_KINDS)
    _check("runs", "kind", "runkind", RUN_KINDS)


def _check(table: str, column: str, name: str, values: tuple[str, ...]) -> None:
    known = ", ".join(f"'{value}'" for value in values)
    op.drop_constraint(op.f(f"ck_{table}_{name}"), table, type_="check")
    op.create_check_constraint(op.f(f"ck_{table}_{name}"), table, f"{column} IN ({known})")
