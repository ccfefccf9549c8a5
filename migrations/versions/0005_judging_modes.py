"""judging modes

Stored answers, and the judges that replay them.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _add_answer_sets()


def downgrade() -> None:
    op.execute("DELETE FROM judges WHERE answer_set_id IS NOT NULL")
    op.drop_constraint(op.f("fk_judges_answer_set_id"), "judges", type_="foreignkey")
    op.drop_column("judges", "answer_set_id")
    op.drop_table("answer_sets")


def _add_answer_sets() -> None:
    op.create_table(
        "answer_sets",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("answer_count", sa.Integer(), nullable=False),
        sa.Column("by_answer", postgresql.JSONB(none_as_null=True), nullable=False),
        sa.Column("storage_key", sa.String(length=500), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("answer_count >= 1", name=op.f("ck_answer_sets_not_empty")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_answer_sets_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_answer_sets")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_answer_sets_project_id_name")),
    )
    op.add_column("judges", sa.Column("answer_set_id", sa.String(length=64, collation="C"), nullable=True))
    op.create_foreign_key(op.f("fk_judges_answer_set_id"), "judges", "answer_sets", ["answer_set_id"], ["id"])
