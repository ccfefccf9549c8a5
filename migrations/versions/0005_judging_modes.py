"""judging modes

Verdicts on single criteria, scores, trajectories, and stored answers with the judges that replay them.

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


VERDICT_UNIT = ["run_id", "comparison_id", "judge_id", "order", "repeat"]


def upgrade() -> None:
    _add_answer_sets()
    _add_scores()
    op.add_column("judges", sa.Column("checkpoint_id", sa.String(length=64, collation="C"), nullable=True))
    op.add_column("completions", sa.Column("turns", postgresql.JSONB(none_as_null=True), nullable=True))
    op.add_column("verdicts", sa.Column("criterion", sa.String(length=100), server_default="", nullable=False))
    op.add_column("verdicts", sa.Column("weight", sa.Float(), server_default=sa.text("1"), nullable=False))
    op.add_column("verdicts", sa.Column("notes", postgresql.JSONB(none_as_null=True), nullable=True))
    op.create_check_constraint(op.f("ck_verdicts_weight_is_positive"), "verdicts", "weight > 0")
    op.drop_constraint("uq_verdicts_unit", "verdicts", type_="unique")
    op.create_unique_constraint("uq_verdicts_unit", "verdicts", [*VERDICT_UNIT, "criterion"])


def downgrade() -> None:
    op.execute("DELETE FROM verdicts WHERE criterion <> ''")
    op.drop_constraint("uq_verdicts_unit", "verdicts", type_="unique")
    op.create_unique_constraint("uq_verdicts_unit", "verdicts", VERDICT_UNIT)
    op.drop_constraint(op.f("ck_verdicts_weight_is_positive"), "verdicts", type_="check")
    for column in ("notes", "weight", "criterion"):
        op.drop_column("verdicts", column)
    op.drop_column("completions", "turns")
    op.drop_table("scores")
    op.execute("DELETE FROM judges WHERE answer_set_id IS NOT NULL OR checkpoint_id IS NOT NULL")
    op.drop_column("judges", "checkpoint_id")
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


def _add_scores() -> None:
    orders = sa.Enum("AB", "BA", name="order", native_enum=False, create_constraint=True, length=32)
    reasons = sa.Enum(
        *("parse", "refusal", "timeout", "truncated", "server"),
        name="invalidreason",
        native_enum=False,
        create_constraint=True,
        length=32,
    )
    op.create_table(
        "scores",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("run_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("completion_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("judge_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("order", orders, nullable=False),
        sa.Column("repeat", sa.SmallInteger(), nullable=False),
        sa.Column("points", sa.Float(), nullable=True),
        sa.Column("invalid_reason", reasons, nullable=True),
        sa.Column("raw_text", sa.Text(), nullable=True),
        sa.Column("prompt_hash", sa.String(length=64), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("cost_usd", sa.Numeric(precision=18, scale=9), nullable=False),
        sa.Column("latency_s", sa.Float(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("cached", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(points IS NULL) = (invalid_reason IS NOT NULL)", name=op.f("ck_scores_invalid_is_missing")
        ),
        sa.CheckConstraint("points BETWEEN 1 AND 10", name=op.f("ck_scores_points_in_range")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_scores_project_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_scores_run_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["completion_id"], ["completions.id"], name=op.f("fk_scores_completion_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["judge_id"], ["judges.id"], name=op.f("fk_scores_judge_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scores")),
        sa.UniqueConstraint("run_id", "completion_id", "judge_id", "order", "repeat", name="uq_scores_unit"),
    )
    op.create_index(op.f("ix_scores_run_id_id"), "scores", ["run_id", "id"], unique=False)
