"""annotations

Queues in which people answer what judges are asked, and people's labels on the prompts of a set.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "annotation_queues",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("rubric_revision_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("annotators_per_item", sa.SmallInteger(), nullable=False),
        sa.Column("claim_ttl_s", sa.Integer(), nullable=False),
        sa.Column(
            "settle_rule",
            sa.Enum("majority", "unanimous", name="settlerule", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("instructions", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("annotators_per_item >= 1", name=op.f("ck_annotation_queues_somebody_answers")),
        sa.CheckConstraint("claim_ttl_s >= 1", name=op.f("ck_annotation_queues_claims_last")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_annotation_queues_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["rubric_revision_id"], ["rubric_revisions.id"], name=op.f("fk_annotation_queues_rubric_revision_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotation_queues")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_annotation_queues_project_id_name")),
    )
    op.create_table(
        "annotation_items",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("queue_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("comparison_id", sa.String(length=64, collation="C"), nullable=True),
        sa.Column("content", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("content_hash", sa.String(length=64), nullable=True),
        sa.Column("prompt_key", sa.String(length=64, collation="C"), nullable=False),
        sa.Column(
            "reason",
            sa.Enum(
                "awaits_people",
                "low_margin",
                "disagreement",
                "inconsistent",
                "random",
                name="routingreason",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("priority", sa.Float(), nullable=False),
        sa.Column(
            "state",
            sa.Enum(
                "open",
                "done",
                "adjudicate",
                "adjudicated",
                name="itemstate",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "answer",
            sa.Enum("A", "B", "TIE", "INVALID", name="answer", native_enum=False, create_constraint=True, length=32),
            nullable=True,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(state IN ('done', 'adjudicated')) = (answer IS NOT NULL)",
            name=op.f("ck_annotation_items_settled_has_answer"),
        ),
        sa.CheckConstraint("answer <> 'INVALID'", name=op.f("ck_annotation_items_people_are_valid")),
        sa.CheckConstraint(
            "(content IS NULL) = (content_hash IS NULL)", name=op.f("ck_annotation_items_content_is_hashed")
        ),
        sa.CheckConstraint(
            "num_nonnulls(comparison_id, content) = 1", name=op.f("ck_annotation_items_comparison_or_content")
        ),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparisons.id"], name=op.f("fk_annotation_items_comparison_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_annotation_items_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["queue_id"], ["annotation_queues.id"], name=op.f("fk_annotation_items_queue_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotation_items")),
        sa.UniqueConstraint("queue_id", "comparison_id", name=op.f("uq_annotation_items_queue_id_comparison_id")),
        sa.UniqueConstraint("queue_id", "content_hash", name=op.f("uq_annotation_items_queue_id_content_hash")),
    )
    op.create_index(op.f("ix_annotation_items_queue_id_id"), "annotation_items", ["queue_id", "id"], unique=False)
    op.create_index(
        op.f("ix_annotation_items_queue_id_prompt_key_id"),
        "annotation_items",
        ["queue_id", "prompt_key", "id"],
        unique=False,
    )
    op.create_index(
        op.f("ix_annotation_items_queue_id_state"),
        "annotation_items",
        ["queue_id", "state"],
        unique=False,
    )
    op.create_table(
        "annotation_seats",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("queue_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("item_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("priority", sa.Float(), nullable=False),
        sa.Column("adjudication", sa.Boolean(), nullable=False),
        sa.Column("annotator", sa.String(length=200), nullable=True),
        sa.Column("token", sa.String(length=64), nullable=True),
        sa.Column(
            "order",
            sa.Enum("AB", "BA", name="order", native_enum=False, create_constraint=True, length=32),
            nullable=True,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("answered_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "answered_at IS NULL OR annotator IS NOT NULL", name=op.f("ck_annotation_seats_answered_by_somebody")
        ),
        sa.CheckConstraint(
            'num_nulls(annotator, token, expires_at, "order") IN (0, 4)', name=op.f("ck_annotation_seats_claimed_whole")
        ),
        sa.ForeignKeyConstraint(
            ["item_id"], ["annotation_items.id"], name=op.f("fk_annotation_seats_item_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_annotation_seats_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["queue_id"], ["annotation_queues.id"], name=op.f("fk_annotation_seats_queue_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotation_seats")),
        sa.UniqueConstraint("item_id", "annotator", name=op.f("uq_annotation_seats_item_id_annotator")),
    )
    op.create_index(
        "ix_annotation_seats_next",
        "annotation_seats",
        ["queue_id", "adjudication", sa.text("priority DESC"), "item_id", "id"],
        unique=False,
        postgresql_where=sa.text("answered_at IS NULL"),
    )
    op.create_index(
        "uq_annotation_seats_adjudicator",
        "annotation_seats",
        ["item_id"],
        unique=True,
        postgresql_where=sa.text("adjudication"),
    )
    op.create_table(
        "annotations",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("queue_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("item_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("annotator", sa.String(length=200), nullable=False),
        sa.Column(
            "answer",
            sa.Enum("A", "B", "TIE", "skip", name="personanswer", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column(
            "skip_reason",
            sa.Enum(
                "unclear",
                "unqualified",
                "broken",
                "harmful",
                "other",
                name="skipreason",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("seconds", sa.Float(), nullable=True),
        sa.Column(
            "order",
            sa.Enum("AB", "BA", name="order", native_enum=False, create_constraint=True, length=32),
            nullable=True,
        ),
        sa.Column("imported", sa.Boolean(), nullable=False),
        sa.Column("adjudication", sa.Boolean(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(answer = 'skip') = (skip_reason IS NOT NULL)", name=op.f("ck_annotations_skip_has_reason")
        ),
        sa.CheckConstraint("NOT adjudication OR answer <> 'skip'", name=op.f("ck_annotations_adjudication_decides")),
        sa.CheckConstraint('imported = ("order" IS NULL)', name=op.f("ck_annotations_shown_unless_imported")),
        sa.CheckConstraint("seconds >= 0", name=op.f("ck_annotations_seconds_not_negative")),
        sa.ForeignKeyConstraint(
            ["item_id"], ["annotation_items.id"], name=op.f("fk_annotations_item_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_annotations_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["queue_id"], ["annotation_queues.id"], name=op.f("fk_annotations_queue_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotations")),
        sa.UniqueConstraint("item_id", "annotator", name=op.f("uq_annotations_item_id_annotator")),
    )
    op.create_index(op.f("ix_annotations_queue_id_id"), "annotations", ["queue_id", "id"], unique=False)
    op.create_index(
        "uq_annotations_adjudication", "annotations", ["item_id"], unique=True, postgresql_where=sa.text("adjudication")
    )
    op.add_column("prompt_sets", sa.Column("annotation_queue_id", sa.String(length=64, collation="C"), nullable=True))
    op.create_foreign_key(
        op.f("fk_prompt_sets_annotation_queue_id"),
        "prompt_sets",
        "annotation_queues",
        ["annotation_queue_id"],
        ["id"],
        ondelete="SET NULL",
    )
    op.add_column(
        "prompts",
        sa.Column(
            "authors",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
        ),
    )
    op.add_column(
        "prompts",
        sa.Column(
            "annotations",
            postgresql.JSONB(none_as_null=True, astext_type=sa.Text()),
            server_default=sa.text("'[]'"),
            nullable=False,
        ),
    )


def downgrade() -> None:
    op.drop_column("prompts", "annotations")
    op.drop_column("prompts", "authors")
    op.drop_constraint(op.f("fk_prompt_sets_annotation_queue_id"), "prompt_sets", type_="foreignkey")
    op.drop_column("prompt_sets", "annotation_queue_id")
    op.drop_index("uq_annotations_adjudication", table_name="annotations", postgresql_where=sa.text("adjudication"))
    op.drop_index(op.f("ix_annotations_queue_id_id"), table_name="annotations")
    op.drop_table("annotations")
    op.drop_index(
        "uq_annotation_seats_adjudicator", table_name="annotation_seats", postgresql_where=sa.text("adjudication")
    )
    op.drop_index("ix_annotation_seats_next", table_name="annotation_seats")
    op.drop_table("annotation_seats")
    op.drop_index(op.f("ix_annotation_items_queue_id_state"), table_name="annotation_items")
    op.drop_index(op.f("ix_annotation_items_queue_id_prompt_key_id"), table_name="annotation_items")
    op.drop_index(op.f("ix_annotation_items_queue_id_id"), table_name="annotation_items")
    op.drop_table("annotation_items")
    op.drop_table("annotation_queues")
