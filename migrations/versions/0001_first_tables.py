"""first tables

Revision ID: 0001
Revises: nothing
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("shard_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("queue", sa.String(length=8), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index(op.f("ix_outbox_shard_id"), "outbox", ["shard_id"], unique=False)
    op.create_table(
        "projects",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_projects")),
        sa.UniqueConstraint("name", name=op.f("uq_projects_name")),
    )
    op.create_table(
        "api_keys",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("hint", sa.String(length=16), nullable=False),
        sa.Column("scopes", postgresql.ARRAY(sa.String(length=16)), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_api_keys_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_api_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_api_keys_digest")),
    )
    op.create_index(op.f("ix_api_keys_project_id"), "api_keys", ["project_id"], unique=False)
    op.create_table(
        "idempotency_keys",
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("operation", sa.String(length=300), nullable=False),
        sa.Column("request_digest", sa.String(length=64), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=False),
        sa.Column("headers", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_idempotency_keys_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("project_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index(op.f("ix_idempotency_keys_created_at"), "idempotency_keys", ["created_at"], unique=False)
    op.create_table(
        "models",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column(
            "kind",
            sa.Enum("base", "checkpoint", name="modelkind", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("source", sa.String(length=500), nullable=False),
        sa.Column("storage_key", sa.String(length=500), nullable=False),
        sa.Column("family", sa.String(length=100), nullable=False),
        sa.Column("architecture", sa.String(length=100), nullable=False),
        sa.Column("parameters", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("checkpoint_id", sa.String(length=64, collation="C"), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_models_project_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_models_project_id_name")),
    )
    op.create_table(
        "prompt_sets",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("train_count", sa.Integer(), nullable=False),
        sa.Column("held_out_count", sa.Integer(), nullable=False),
        sa.Column("cohorts", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_prompt_sets_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompt_sets")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_prompt_sets_project_id_name")),
    )
    op.create_table(
        "rubrics",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_rubrics_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rubrics")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_rubrics_project_id_name")),
    )
    op.create_table(
        "secrets",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("name", sa.String(length=100), nullable=False),
        sa.Column("host", sa.String(length=300), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_secrets_project_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_secrets")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_secrets_project_id_name")),
    )
    op.create_table(
        "judges",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("family", sa.String(length=100), nullable=False),
        sa.Column("spec", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("model_id", sa.String(length=64, collation="C"), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["model_id"], ["models.id"], name=op.f("fk_judges_model_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_judges_project_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_judges")),
        sa.UniqueConstraint("project_id", "name", name=op.f("uq_judges_project_id_name")),
    )
    op.create_table(
        "prompts",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("prompt_set_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("external_id", sa.String(length=200), nullable=False),
        sa.Column("messages", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("tools", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("cohort", sa.String(length=100), nullable=False),
        sa.Column(
            "split",
            sa.Enum("train", "held_out", name="split", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("criteria", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("candidates", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("preferences", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_prompts_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["prompt_set_id"], ["prompt_sets.id"], name=op.f("fk_prompts_prompt_set_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prompts")),
        sa.UniqueConstraint("prompt_set_id", "external_id", name=op.f("uq_prompts_prompt_set_id_external_id")),
        sa.UniqueConstraint("prompt_set_id", "position", name=op.f("uq_prompts_prompt_set_id_position")),
    )
    op.create_index(
        op.f("ix_prompts_prompt_set_id_split_position"), "prompts", ["prompt_set_id", "split", "position"], unique=False
    )
    op.create_table(
        "rubric_revisions",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("rubric_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("content", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("content_hash", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("number >= 1", name=op.f("ck_rubric_revisions_number_from_one")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_rubric_revisions_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["rubric_id"], ["rubrics.id"], name=op.f("fk_rubric_revisions_rubric_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rubric_revisions")),
        sa.UniqueConstraint("rubric_id", "content_hash", name=op.f("uq_rubric_revisions_rubric_id_content_hash")),
        sa.UniqueConstraint("rubric_id", "number", name=op.f("uq_rubric_revisions_rubric_id_number")),
    )
    op.create_index(op.f("ix_rubric_revisions_project_id"), "rubric_revisions", ["project_id"], unique=False)
    op.create_table(
        "runs",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("name", sa.String(length=200), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "queued",
                "running",
                "paused",
                "succeeded",
                "failed",
                "cancelled",
                name="runstatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("recipe", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("rubric_revision_id", sa.String(length=64, collation="C"), nullable=True),
        sa.Column("prompt_set_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("base_model_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("judge_id", sa.String(length=64, collation="C"), nullable=True),
        sa.Column("evaluation_judge_id", sa.String(length=64, collation="C"), nullable=True),
        sa.Column("forked_from_id", sa.String(length=64, collation="C"), nullable=True),
        sa.Column("cancel_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pause_requested_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pause_reason", sa.String(length=500), nullable=True),
        sa.Column("error", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(status IN ('succeeded','failed','cancelled')) = (finished_at IS NOT NULL)",
            name=op.f("ck_runs_finished_when_terminal"),
        ),
        sa.CheckConstraint("status <> 'failed' OR error IS NOT NULL", name=op.f("ck_runs_failed_has_error")),
        sa.ForeignKeyConstraint(["base_model_id"], ["models.id"], name=op.f("fk_runs_base_model_id")),
        sa.ForeignKeyConstraint(["evaluation_judge_id"], ["judges.id"], name=op.f("fk_runs_evaluation_judge_id")),
        sa.ForeignKeyConstraint(["forked_from_id"], ["runs.id"], name=op.f("fk_runs_forked_from_id")),
        sa.ForeignKeyConstraint(["judge_id"], ["judges.id"], name=op.f("fk_runs_judge_id")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_runs_project_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["prompt_set_id"], ["prompt_sets.id"], name=op.f("fk_runs_prompt_set_id")),
        sa.ForeignKeyConstraint(
            ["rubric_revision_id"], ["rubric_revisions.id"], name=op.f("fk_runs_rubric_revision_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
    )
    op.create_index(
        "ix_runs_cancel_pending",
        "runs",
        ["cancel_requested_at"],
        unique=False,
        postgresql_where=sa.text("cancel_requested_at IS NOT NULL AND finished_at IS NULL"),
    )
    op.create_index(
        "ix_runs_pause_pending",
        "runs",
        ["pause_requested_at"],
        unique=False,
        postgresql_where=sa.text("pause_requested_at IS NOT NULL AND status IN ('queued', 'running')"),
    )
    op.create_index(op.f("ix_runs_project_id_id"), "runs", ["project_id", "id"], unique=False)
    op.create_table(
        "checkpoints",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("run_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("round", sa.SmallInteger(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "reward_model", "policy", name="checkpointkind", native_enum=False, create_constraint=True, length=32
            ),
            nullable=False,
        ),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("storage_key", sa.String(length=500), nullable=False),
        sa.Column("manifest", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("metrics", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("lineage", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_checkpoints_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_checkpoints_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_checkpoints")),
        sa.UniqueConstraint("run_id", "round", "kind", "step", name=op.f("uq_checkpoints_run_id_round_kind_step")),
    )
    op.create_index(op.f("ix_checkpoints_project_id_id"), "checkpoints", ["project_id", "id"], unique=False)
    op.create_table(
        "completions",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("run_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("round", sa.SmallInteger(), nullable=False),
        sa.Column(
            "split",
            sa.Enum("train", "held_out", name="split", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column(
            "source",
            sa.Enum(
                "base",
                "policy",
                "imported",
                name="completionsource",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("prompt_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("finish_reason", sa.String(length=16), nullable=False),
        sa.Column("prompt_tokens", sa.Integer(), nullable=True),
        sa.Column("tokens", sa.Integer(), nullable=True),
        sa.Column("seed", sa.BigInteger(), nullable=True),
        sa.Column("reward", sa.Float(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_completions_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_completions_prompt_id")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_completions_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_completions")),
        sa.UniqueConstraint("run_id", "round", "split", "source", "prompt_id", "position", name="uq_completions_unit"),
    )
    op.create_index(op.f("ix_completions_run_id_id"), "completions", ["run_id", "id"], unique=False)
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("run_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("type", sa.String(length=64), nullable=False),
        sa.Column("data", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_events_project_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_events_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_run_id_id"), "events", ["run_id", "id"], unique=False)
    op.create_table(
        "stages",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("run_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("round", sa.SmallInteger(), nullable=False),
        sa.Column("position", sa.SmallInteger(), nullable=False),
        sa.Column(
            "kind",
            sa.Enum(
                "sample",
                "judge",
                "prefer",
                "reward_model",
                "policy",
                "evaluate",
                name="stagekind",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column(
            "status",
            sa.Enum(
                "pending",
                "running",
                "succeeded",
                "failed",
                "cancelled",
                "reused",
                name="stagestatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("phase", sa.SmallInteger(), nullable=False),
        sa.Column("source_run_id", sa.String(length=64, collation="C"), nullable=True),
        sa.Column("total_shards", sa.Integer(), nullable=False),
        sa.Column("done_shards", sa.Integer(), nullable=False),
        sa.Column("total_units", sa.Integer(), nullable=False),
        sa.Column("done_units", sa.Integer(), nullable=False),
        sa.Column("metrics", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("waiting_for", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("judge_usd", sa.Numeric(precision=18, scale=9), nullable=False),
        sa.Column("judge_calls", sa.BigInteger(), nullable=False),
        sa.Column("prompt_tokens", sa.BigInteger(), nullable=False),
        sa.Column("completion_tokens", sa.BigInteger(), nullable=False),
        sa.Column("compute_seconds", sa.Float(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pace_from", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pace_units", sa.Integer(), nullable=False),
        sa.CheckConstraint("done_shards <= total_shards", name=op.f("ck_stages_done_within_total")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_stages_project_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_stages_run_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["source_run_id"], ["runs.id"], name=op.f("fk_stages_source_run_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_stages")),
        sa.UniqueConstraint("run_id", "round", "kind", name=op.f("uq_stages_run_id_round_kind")),
    )
    op.create_table(
        "comparisons",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("run_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("round", sa.SmallInteger(), nullable=False),
        sa.Column(
            "purpose",
            sa.Enum(
                "train", "held_out", "evaluation", name="purpose", native_enum=False, create_constraint=True, length=32
            ),
            nullable=False,
        ),
        sa.Column("prompt_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("first_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("second_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("principle", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("first_id <> second_id", name=op.f("ck_comparisons_two_completions")),
        sa.ForeignKeyConstraint(
            ["first_id"], ["completions.id"], name=op.f("fk_comparisons_first_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_comparisons_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["prompt_id"], ["prompts.id"], name=op.f("fk_comparisons_prompt_id")),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_comparisons_run_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["second_id"], ["completions.id"], name=op.f("fk_comparisons_second_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_comparisons")),
        sa.UniqueConstraint("run_id", "round", "purpose", "first_id", "second_id", name="uq_comparisons_unit"),
    )
    op.create_index(op.f("ix_comparisons_run_id_id"), "comparisons", ["run_id", "id"], unique=False)
    op.create_table(
        "evaluations",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("run_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("round", sa.SmallInteger(), nullable=False),
        sa.Column("checkpoint_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("judge_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("metrics", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["checkpoint_id"], ["checkpoints.id"], name=op.f("fk_evaluations_checkpoint_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["judge_id"], ["judges.id"], name=op.f("fk_evaluations_judge_id")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_evaluations_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_evaluations_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_evaluations")),
        sa.UniqueConstraint(
            "run_id",
            "round",
            "checkpoint_id",
            "judge_id",
            name=op.f("uq_evaluations_run_id_round_checkpoint_id_judge_id"),
        ),
    )
    op.create_table(
        "metric_points",
        sa.Column("stage_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("data", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_metric_points_run_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(
            ["stage_id"], ["stages.id"], name=op.f("fk_metric_points_stage_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("stage_id", "step", name=op.f("pk_metric_points")),
    )
    op.create_index(op.f("ix_metric_points_run_id"), "metric_points", ["run_id"], unique=False)
    op.create_table(
        "shards",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("run_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("stage_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("phase", sa.SmallInteger(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("queue", sa.String(length=8), nullable=False),
        sa.Column("payload", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column(
            "status",
            sa.Enum(
                "queued",
                "running",
                "succeeded",
                "failed",
                "cancelled",
                name="shardstatus",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=False,
        ),
        sa.Column("attempt", sa.SmallInteger(), nullable=False),
        sa.Column("max_attempts", sa.SmallInteger(), nullable=False),
        sa.Column("lease_token", sa.BigInteger(), nullable=False),
        sa.Column("lease_expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("worker", sa.String(length=200), nullable=True),
        sa.Column("total_units", sa.Integer(), nullable=False),
        sa.Column("done_units", sa.Integer(), nullable=False),
        sa.Column("progress", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("error", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("rung_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("given_back", sa.SmallInteger(), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "(status = 'running') = (lease_expires_at IS NOT NULL)", name=op.f("ck_shards_running_has_lease")
        ),
        sa.CheckConstraint("queue IN ('io', 'gpu')", name=op.f("ck_shards_queue_known")),
        sa.CheckConstraint("attempt <= max_attempts", name=op.f("ck_shards_attempts_have_a_ceiling")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_shards_project_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_shards_run_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["stage_id"], ["stages.id"], name=op.f("fk_shards_stage_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shards")),
        sa.UniqueConstraint("stage_id", "phase", "position", name=op.f("uq_shards_stage_id_phase_position")),
    )
    op.create_index(
        "ix_shards_lease", "shards", ["lease_expires_at"], unique=False, postgresql_where=sa.text("status = 'running'")
    )
    op.create_index(op.f("ix_shards_run_id_status"), "shards", ["run_id", "status"], unique=False)
    op.create_index(
        "ix_shards_silent", "shards", ["rung_at"], unique=False, postgresql_where=sa.text("status = 'queued'")
    )
    op.create_table(
        "preferences",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("run_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("round", sa.SmallInteger(), nullable=False),
        sa.Column("comparison_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column(
            "split",
            sa.Enum("train", "held_out", name="split", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("probability", sa.Float(), nullable=True),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("drop_reason", sa.String(length=64), nullable=True),
        sa.Column("provenance", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("probability BETWEEN 0 AND 1", name=op.f("ck_preferences_probability_in_range")),
        sa.CheckConstraint(
            "probability IS NOT NULL OR drop_reason IS NOT NULL", name=op.f("ck_preferences_believed_or_dropped")
        ),
        sa.CheckConstraint("weight >= 0", name=op.f("ck_preferences_weight_not_negative")),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparisons.id"], name=op.f("fk_preferences_comparison_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_preferences_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_preferences_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_preferences")),
        sa.UniqueConstraint("run_id", "comparison_id", name=op.f("uq_preferences_run_id_comparison_id")),
    )
    op.create_index(op.f("ix_preferences_run_id_id"), "preferences", ["run_id", "id"], unique=False)
    op.create_table(
        "verdicts",
        sa.Column("id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("project_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("run_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("comparison_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column("judge_id", sa.String(length=64, collation="C"), nullable=False),
        sa.Column(
            "order",
            sa.Enum("AB", "BA", name="order", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("repeat", sa.SmallInteger(), nullable=False),
        sa.Column(
            "answer",
            sa.Enum("A", "B", "TIE", "INVALID", name="answer", native_enum=False, create_constraint=True, length=32),
            nullable=False,
        ),
        sa.Column("probability", sa.Float(), nullable=True),
        sa.Column(
            "invalid_reason",
            sa.Enum(
                "parse",
                "refusal",
                "timeout",
                "truncated",
                "server",
                name="invalidreason",
                native_enum=False,
                create_constraint=True,
                length=32,
            ),
            nullable=True,
        ),
        sa.Column("raw_text", sa.Text(), nullable=True),
        sa.Column("prompt_hash", sa.String(length=64), nullable=True),
        sa.Column("prompt_tokens", sa.Integer(), nullable=False),
        sa.Column("completion_tokens", sa.Integer(), nullable=False),
        sa.Column("cost_usd", sa.Numeric(precision=18, scale=9), nullable=False),
        sa.Column("latency_s", sa.Float(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), nullable=False),
        sa.Column("scores", postgresql.JSONB(none_as_null=True, astext_type=sa.Text()), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "(answer = 'INVALID') = (invalid_reason IS NOT NULL)", name=op.f("ck_verdicts_invalid_has_reason")
        ),
        sa.CheckConstraint("(answer = 'INVALID') = (probability IS NULL)", name=op.f("ck_verdicts_invalid_is_missing")),
        sa.CheckConstraint("probability BETWEEN 0 AND 1", name=op.f("ck_verdicts_probability_in_range")),
        sa.ForeignKeyConstraint(
            ["comparison_id"], ["comparisons.id"], name=op.f("fk_verdicts_comparison_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["judge_id"], ["judges.id"], name=op.f("fk_verdicts_judge_id")),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_verdicts_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_verdicts_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
        sa.UniqueConstraint("run_id", "comparison_id", "judge_id", "order", "repeat", name="uq_verdicts_unit"),
    )
    op.create_index(op.f("ix_verdicts_run_id_id"), "verdicts", ["run_id", "id"], unique=False)


def downgrade() -> None:
    op.drop_index(op.f("ix_verdicts_run_id_id"), table_name="verdicts")
    op.drop_table("verdicts")
    op.drop_index(op.f("ix_preferences_run_id_id"), table_name="preferences")
    op.drop_table("preferences")
    op.drop_index("ix_shards_silent", table_name="shards", postgresql_where=sa.text("status = 'queued'"))
    op.drop_index(op.f("ix_shards_run_id_status"), table_name="shards")
    op.drop_index("ix_shards_lease", table_name="shards", postgresql_where=sa.text("status = 'running'"))
    op.drop_table("shards")
    op.drop_index(op.f("ix_metric_points_run_id"), table_name="metric_points")
    op.drop_table("metric_points")
    op.drop_table("evaluations")
    op.drop_index(op.f("ix_comparisons_run_id_id"), table_name="comparisons")
    op.drop_table("comparisons")
    op.drop_table("stages")
    op.drop_index(op.f("ix_events_run_id_id"), table_name="events")
    op.drop_table("events")
    op.drop_index(op.f("ix_completions_run_id_id"), table_name="completions")
    op.drop_table("completions")
    op.drop_index(op.f("ix_checkpoints_project_id_id"), table_name="checkpoints")
    op.drop_table("checkpoints")
    op.drop_index(op.f("ix_runs_project_id_id"), table_name="runs")
    op.drop_index(
        "ix_runs_pause_pending",
        table_name="runs",
        postgresql_where=sa.text("pause_requested_at IS NOT NULL AND status IN ('queued', 'running')"),
    )
    op.drop_index(
        "ix_runs_cancel_pending",
        table_name="runs",
        postgresql_where=sa.text("cancel_requested_at IS NOT NULL AND finished_at IS NULL"),
    )
    op.drop_table("runs")
    op.drop_index(op.f("ix_rubric_revisions_project_id"), table_name="rubric_revisions")
    op.drop_table("rubric_revisions")
    op.drop_index(op.f("ix_prompts_prompt_set_id_split_position"), table_name="prompts")
    op.drop_table("prompts")
    op.drop_table("judges")
    op.drop_table("secrets")
    op.drop_table("rubrics")
    op.drop_table("prompt_sets")
    op.drop_table("models")
    op.drop_index(op.f("ix_idempotency_keys_created_at"), table_name="idempotency_keys")
    op.drop_table("idempotency_keys")
    op.drop_index(op.f("ix_api_keys_project_id"), table_name="api_keys")
    op.drop_table("api_keys")
    op.drop_table("projects")
    op.drop_index(op.f("ix_outbox_shard_id"), table_name="outbox")
    op.drop_table("outbox")
