"""tasks

Capability tasks with their documents, what each model scored on them, and ratings by several evaluators.

Revision ID: 0010
Revises: 0009
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

SCORE_UNIT = ["run_id", "completion_id", "judge_id", "order", "repeat"]


def upgrade() -> None:
    _add_tasks()
    _add_documents()
    _add_outcomes()
    op.add_column("scores", sa.Column("evaluator", sa.String(length=100), server_default="", nullable=False))
    op.drop_constraint("uq_scores_unit", "scores", type_="unique")
    op.create_unique_constraint("uq_scores_unit", "scores", [*SCORE_UNIT, "evaluator"])


def downgrade() -> None:
    op.execute("DELETE FROM scores WHERE evaluator <> ''")
    op.drop_constraint("uq_scores_unit", "scores", type_="unique")
    op.create_unique_constraint("uq_scores_unit", "scores", SCORE_UNIT)
    op.drop_column("scores", "evaluator")
    for table in ("task_outcomes", "task_documents", "tasks"):
        op.drop_table(table)


def _add_tasks() -> None:
    op.create_table(
        "tasks",
        _text_id("id"),
        _text_id("project_id"),
        sa.Column("name", sa.String(length=200), nullable=False),
        _json("config"),
        sa.Column("document_count", sa.Integer(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("document_count >= 1", name=op.f("ck_tasks_not_empty")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_tasks_project_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_tasks_project_id_name")),
    )


def _add_documents() -> None:
    op.create_table(
        "task_documents",
        _text_id("task_id"),
        sa.Column("position", sa.Integer(), nullable=False),
        _json("document"),
        sa.Column("system", sa.Text(), nullable=False),
        sa.Column("context", sa.Text(), nullable=False),
        _json("choices"),
        _json("gold"),
        _json("targets"),
        sa.ForeignKeyConstraint(["task_id"], ["tasks.id"], name=op.f("fk_task_documents_task_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("task_id", "position", name=op.f("pk_task_documents")),
    )


def _add_outcomes() -> None:
    op.create_table(
        "task_outcomes",
        _text_id("project_id"),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("model_digest", sa.String(length=64), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("text", sa.Text(), nullable=True),
        _json("logprobs"),
        _json("scores"),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_task_outcomes_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "digest", "model_digest", "position", name=op.f("pk_task_outcomes")),
    )


def _text_id(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(length=64, collation="C"), nullable=False)


def _json(name: str) -> sa.Column[object]:
    return sa.Column(name, postgresql.JSONB(none_as_null=True), nullable=False)
