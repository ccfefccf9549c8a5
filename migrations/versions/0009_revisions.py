"""revisions

What a base model makes of its own answers before it is taught by them.

Revision ID: 0009
Revises: 0008
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

ENDINGS = ("stop", "length", "no_room", "no_critique")


def upgrade() -> None:
    op.create_table(
        "revisions",
        _id("id"),
        _id("project_id"),
        _id("run_id"),
        _one_of("split", ("train", "held_out")),
        _id("prompt_id"),
        sa.Column("step", sa.SmallInteger(), nullable=False),
        sa.Column("principle", sa.Text(), nullable=True),
        sa.Column("critique", sa.Text(), nullable=True),
        sa.Column("text", sa.Text(), nullable=True),
        _one_of("finish_reason", ENDINGS, nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("critique_tokens", sa.Integer(), nullable=True),
        sa.Column("tokens", sa.Integer(), nullable=True),
        sa.Column("critique_seed", sa.BigInteger(), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("(step = 0) = (principle IS NULL)", name=op.f("ck_revisions_revisions_have_principles")),
        sa.CheckConstraint(
            "finish_reason IN ('stop', 'length') OR step > 0", name=op.f("ck_revisions_answers_are_written")
        ),
        sa.CheckConstraint("(finish_reason IS NULL) = (text IS NULL)", name=op.f("ck_revisions_what_ended_has_text")),
        sa.CheckConstraint("split IN ('train', 'held_out')", name=op.f("ck_revisions_split")),
        sa.CheckConstraint(
            "finish_reason IN ('stop', 'length', 'no_room', 'no_critique')", name=op.f("ck_revisions_ending")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revisions")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_revisions_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_revisions_run_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_revisions_prompt_id")),
        sa.UniqueConstraint("run_id", "prompt_id", "step", name="uq_revisions_unit"),
    )
    op.create_index(op.f("ix_revisions_run_id_id"), "revisions", ["run_id", "id"])


def _id(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.String(length=64, collation="C"), nullable=False)


def _one_of(name: str, values: tuple[str, ...], *, nullable: bool = False) -> sa.Column[str]:
    kind = sa.Enum(*values, name=name, native_enum=False, create_constraint=False, length=32)
    return sa.Column(name, kind, nullable=nullable)


def downgrade() -> None:
    op.drop_table("revisions")
