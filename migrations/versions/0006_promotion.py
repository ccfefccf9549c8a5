"""promotion

Whether a policy was promoted by its run's evaluation, and by which gates.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("checkpoints", sa.Column("promoted", sa.Boolean(), nullable=True))
    op.add_column("checkpoints", sa.Column("promotion_reasons", postgresql.JSONB(none_as_null=True), nullable=True))
    op.create_check_constraint(
        op.f("ck_checkpoints_promotion_has_reasons"),
        "checkpoints",
        "(promoted IS NULL) = (promotion_reasons IS NULL)",
    )
    op.create_check_constraint(
        op.f("ck_checkpoints_policies_are_promoted"), "checkpoints", "kind = 'policy' OR promoted IS NULL"
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_checkpoints_policies_are_promoted"), "checkpoints", type_="check")
    op.drop_constraint(op.f("ck_checkpoints_promotion_has_reasons"), "checkpoints", type_="check")
    op.drop_column("checkpoints", "promotion_reasons")
    op.drop_column("checkpoints", "promoted")
