"""What a client brings: rubrics, prompt sets, models, judges. All of them immutable once a run uses them."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import CheckConstraint, ForeignKey, Index, Integer, String, UniqueConstraint, text, true
from sqlalchemy.orm import Mapped, mapped_column

from app.db.base import Base, Big, CreatedAt, Id, Json, JsonList, Long, Ref, enum_column


class Split(StrEnum):
    """Which prompts train and which only measure."""

    TRAIN = "train"
    HELD_OUT = "held_out"


class ModelKind(StrEnum):
    """Where a model came from."""

    BASE = "base"
    CHECKPOINT = "checkpoint"


class Rubric(Base):
    __tablename__ = "rubrics"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[CreatedAt]


class RubricRevision(Base):
    """One immutable revision; `content` is an app.rlaif.rubric.Rubric."""

    __tablename__ = "rubric_revisions"
    __table_args__ = (
        UniqueConstraint("rubric_id", "number"),
        UniqueConstraint("rubric_id", "content_hash"),
        CheckConstraint("number >= 1", name="number_from_one"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"), index=True)
    rubric_id: Mapped[Ref] = mapped_column(ForeignKey("rubrics.id", ondelete="CASCADE"))
    number: Mapped[int] = mapped_column(Integer)
    content: Mapped[Json]
    content_hash: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[CreatedAt]


class PromptSet(Base):
    """A named, immutable set of prompts with its counts and digest."""

    __tablename__ = "prompt_sets"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    train_count: Mapped[int] = mapped_column(Integer)
    held_out_count: Mapped[int] = mapped_column(Integer)
    cohorts: Mapped[Json]  # cohort -> number of prompts
    digest: Mapped[str] = mapped_column(String(64))
    annotation_queue_id: Mapped[Ref | None] = mapped_column(  # whose snapshot this is
        ForeignKey("annotation_queues.id", ondelete="SET NULL")
    )
    listed: Mapped[bool] = mapped_column(default=True, server_default=true())  # false: came inline with one run
    created_at: Mapped[CreatedAt]


class Prompt(Base):
    """One prompt. `position` counts from 0 within the set; shards are ranges of it within a split."""

    __tablename__ = "prompts"
    __table_args__ = (
        UniqueConstraint("prompt_set_id", "position"),
        UniqueConstraint("prompt_set_id", "external_id"),
        Index(None, "prompt_set_id", "split", "position"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    prompt_set_id: Mapped[Ref] = mapped_column(ForeignKey("prompt_sets.id", ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(Integer)
    external_id: Mapped[str] = mapped_column(String(200))
    messages: Mapped[JsonList]
    tools: Mapped[JsonList | None]
    cohort: Mapped[str] = mapped_column(String(100))
    split: Mapped[Split] = mapped_column(enum_column(Split))
    reference: Mapped[Long | None]
    criteria: Mapped[JsonList]  # per-prompt app.rlaif.rubric.Criterion
    candidates: Mapped[JsonList]  # ready-made completions: texts, or trajectories as lists of messages
    preferences: Mapped[JsonList]  # [{"first": 0, "second": 1, "probability": 0.9}], indices into candidates
    # The three below came later: a row from before has none.
    authors: Mapped[JsonList] = mapped_column(default=list, server_default=text("'[]'"))  # family of each candidate
    annotations: Mapped[JsonList] = mapped_column(default=list, server_default=text("'[]'"))  # KnownAnnotation
    outcomes: Mapped[JsonList] = mapped_column(default=list, server_default=text("'[]'"))  # of each candidate


class Model(Base):
    """A validated base model, or a checkpoint a run trained. `storage_key` is the server's own."""

    __tablename__ = "models"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    kind: Mapped[ModelKind] = mapped_column(enum_column(ModelKind))
    source: Mapped[str] = mapped_column(String(500))
    storage_key: Mapped[str] = mapped_column(String(500))
    family: Mapped[str] = mapped_column(String(100))
    architecture: Mapped[str] = mapped_column(String(100))
    parameters: Mapped[Big]
    digest: Mapped[str] = mapped_column(String(64))
    checkpoint_id: Mapped[Ref | None]
    created_at: Mapped[CreatedAt]


class Judge(Base):
    """An AI annotator; `spec` is an app.rlaif.judges.JudgeSpec."""

    __tablename__ = "judges"
    __table_args__ = (UniqueConstraint("project_id", "name"),)

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(32))
    family: Mapped[str] = mapped_column(String(2000))  # of a panel or cascade its judges', joined by "+"
    spec: Mapped[Json]
    model_id: Mapped[Ref | None] = mapped_column(ForeignKey("models.id"))
    answer_set_id: Mapped[Ref | None] = mapped_column(ForeignKey("answer_sets.id"))
    checkpoint_id: Mapped[Ref | None]
    created_at: Mapped[CreatedAt]
