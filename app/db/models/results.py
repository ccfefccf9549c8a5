"""What a run produces. The unique keys make a second execution of any unit a no-op."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import (
    CheckConstraint,
    Float,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    String,
    UniqueConstraint,
    false,
    func,
    select,
    text,
)
from sqlalchemy.orm import Mapped, column_property, mapped_column

from app.db.base import Base, Big, Candidate, CreatedAt, Id, Json, JsonList, Long, Ref, Usd, enum_column
from app.db.models.inputs import Split
from app.rlaif.comparison import Answer, InvalidReason, Order


class CompletionSource(StrEnum):
    """Who wrote a completion: the round's start model, the trained policy, or the client."""

    BASE = "base"
    POLICY = "policy"
    IMPORTED = "imported"


class Purpose(StrEnum):
    """What a comparison is for. Only `train` pairs of train prompts are ever trained on."""

    TRAIN = "train"
    HELD_OUT = "held_out"
    EVALUATION = "evaluation"


class CheckpointKind(StrEnum):
    WARM_START = "warm_start"
    REWARD_MODEL = "reward_model"
    POLICY = "policy"


class Completion(Base):
    __tablename__ = "completions"
    __table_args__ = (
        UniqueConstraint(
            "run_id", "round", "candidate", "split", "source", "prompt_id", "position", name="uq_completions_unit"
        ),
        Index(None, "run_id", "id"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    run_id: Mapped[Ref] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    round: Mapped[int] = mapped_column(SmallInteger)
    candidate: Mapped[Candidate] = mapped_column(server_default="0")
    split: Mapped[Split] = mapped_column(enum_column(Split))
    source: Mapped[CompletionSource] = mapped_column(enum_column(CompletionSource))
    prompt_id: Mapped[Ref] = mapped_column(ForeignKey("prompts.id"))
    position: Mapped[int] = mapped_column(SmallInteger)
    text: Mapped[Long]
    turns: Mapped[JsonList | None]  # a whole trajectory as chat messages; `text` is then its transcript
    finish_reason: Mapped[str] = mapped_column(String(16))  # stop | length | imported
    prompt_tokens: Mapped[int | None] = mapped_column(Integer)
    tokens: Mapped[int | None] = mapped_column(Integer)
    seed: Mapped[Big | None]
    reward: Mapped[float | None] = mapped_column(Float)  # the reward model's score, where it was asked
    reward_spread: Mapped[float | None] = mapped_column(Float)  # standard deviation of an ensemble's members
    created_at: Mapped[CreatedAt]


class Comparison(Base):
    """Two completions of one prompt. Verdicts call `first_id` A and `second_id` B."""

    __tablename__ = "comparisons"
    __table_args__ = (
        UniqueConstraint("run_id", "round", "purpose", "first_id", "second_id", name="uq_comparisons_unit"),
        Index(None, "run_id", "id"),
        CheckConstraint("first_id <> second_id", name="two_completions"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    run_id: Mapped[Ref] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    round: Mapped[int] = mapped_column(SmallInteger)
    purpose: Mapped[Purpose] = mapped_column(enum_column(Purpose))
    prompt_id: Mapped[Ref] = mapped_column(ForeignKey("prompts.id"))
    first_id: Mapped[Ref] = mapped_column(ForeignKey("completions.id", ondelete="CASCADE"))
    second_id: Mapped[Ref] = mapped_column(ForeignKey("completions.id", ondelete="CASCADE"))
    principle: Mapped[Long | None]
    created_at: Mapped[CreatedAt]


class Share:
    """What one judge's answer took, of the calls of its question."""

    raw_text: Mapped[Long | None]
    prompt_hash: Mapped[str | None] = mapped_column(String(64))
    prompt_tokens: Mapped[int] = mapped_column(Integer, default=0)
    completion_tokens: Mapped[int] = mapped_column(Integer, default=0)
    cost_usd: Mapped[Usd] = mapped_column(default=0)
    cached: Mapped[bool] = mapped_column(default=False, server_default=false())  # a stored reply: nobody was asked
    latency_s: Mapped[float] = mapped_column(Float, default=0.0)
    attempts: Mapped[int] = mapped_column(SmallInteger, default=1)


class Verdict(Share, Base):
    """One judge's answer in one presentation order, in the comparison's own numbering."""

    __tablename__ = "verdicts"
    __table_args__ = (
        UniqueConstraint(
            "run_id", "comparison_id", "judge_id", "order", "repeat", "criterion", name="uq_verdicts_unit"
        ),
        Index(None, "run_id", "id"),
        CheckConstraint("(answer = 'INVALID') = (probability IS NULL)", name="invalid_is_missing"),
        CheckConstraint("(answer = 'INVALID') = (invalid_reason IS NOT NULL)", name="invalid_has_reason"),
        CheckConstraint("probability BETWEEN 0 AND 1", name="probability_in_range"),
        CheckConstraint("weight > 0", name="weight_is_positive"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    run_id: Mapped[Ref] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    comparison_id: Mapped[Ref] = mapped_column(ForeignKey("comparisons.id", ondelete="CASCADE"))
    judge_id: Mapped[Ref] = mapped_column(ForeignKey("judges.id"))
    order: Mapped[Order] = mapped_column(enum_column(Order))
    repeat: Mapped[int] = mapped_column(SmallInteger, default=0)
    criterion: Mapped[str] = mapped_column(String(100), default="", server_default="")  # judged alone; '' = the whole
    weight: Mapped[float] = mapped_column(Float, default=1.0, server_default=text("1"))  # the criterion's in the whole
    answer: Mapped[Answer] = mapped_column(enum_column(Answer))
    probability: Mapped[float | None] = mapped_column(Float)
    invalid_reason: Mapped[InvalidReason | None] = mapped_column(enum_column(InvalidReason))
    saved_usd: Mapped[Usd] = mapped_column(default=0, server_default="0")  # of a stored reply: what it had cost
    scores: Mapped[Json | None]  # per-criterion scores, where the judge gives them
    notes: Mapped[JsonList | None]  # on single turns of a trajectory: side, turn, note
    created_at: Mapped[CreatedAt]


class Score(Share, Base):
    """One judge's rating of one completion in one presentation: `BA` shows criteria and scale the other way round."""

    __tablename__ = "scores"
    __table_args__ = (
        UniqueConstraint("run_id", "completion_id", "judge_id", "order", "repeat", "evaluator", name="uq_scores_unit"),
        Index(None, "run_id", "id"),
        CheckConstraint("(points IS NULL) = (invalid_reason IS NOT NULL)", name="invalid_is_missing"),
        CheckConstraint("points BETWEEN 1 AND 10", name="points_in_range"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    run_id: Mapped[Ref] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    completion_id: Mapped[Ref] = mapped_column(ForeignKey("completions.id", ondelete="CASCADE"))
    judge_id: Mapped[Ref] = mapped_column(ForeignKey("judges.id"))
    order: Mapped[Order] = mapped_column(enum_column(Order))
    repeat: Mapped[int] = mapped_column(SmallInteger, default=0)
    evaluator: Mapped[str] = mapped_column(String(100), default="", server_default="")  # '' = by the run's own rubric
    points: Mapped[float | None] = mapped_column(Float)
    invalid_reason: Mapped[InvalidReason | None] = mapped_column(enum_column(InvalidReason))
    created_at: Mapped[CreatedAt]


class Preference(Base):
    """What is believed of a comparison; with `drop_reason`, why nothing is trained on it."""

    __tablename__ = "preferences"
    __table_args__ = (
        UniqueConstraint("run_id", "comparison_id"),
        Index(None, "run_id", "id"),
        CheckConstraint("probability IS NOT NULL OR drop_reason IS NOT NULL", name="believed_or_dropped"),
        CheckConstraint("probability BETWEEN 0 AND 1", name="probability_in_range"),
        CheckConstraint("weight >= 0", name="weight_not_negative"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    run_id: Mapped[Ref] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    round: Mapped[int] = mapped_column(SmallInteger)
    comparison_id: Mapped[Ref] = mapped_column(ForeignKey("comparisons.id", ondelete="CASCADE"))
    split: Mapped[Split] = mapped_column(enum_column(Split))
    probability: Mapped[float | None] = mapped_column(Float)
    weight: Mapped[float] = mapped_column(Float, default=1.0)
    drop_reason: Mapped[str | None] = mapped_column(String(64))
    provenance: Mapped[Json]  # judges, orders, counts of each answer, or the import it came from
    created_at: Mapped[CreatedAt]


class Checkpoint(Base):
    """Published weights: `manifest` lists each file's size and SHA-256; `lineage` what they were learned from."""

    __tablename__ = "checkpoints"
    __table_args__ = (
        UniqueConstraint("run_id", "round", "candidate", "kind", "step", name="uq_checkpoints_unit"),
        Index(None, "project_id", "id"),
        CheckConstraint("(promoted IS NULL) = (promotion_reasons IS NULL)", name="promotion_has_reasons"),
        CheckConstraint("kind = 'policy' OR promoted IS NULL", name="policies_are_promoted"),
        CheckConstraint("kind = 'policy' OR selected IS NULL", name="policies_are_selected"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    run_id: Mapped[Ref] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    round: Mapped[int] = mapped_column(SmallInteger)
    candidate: Mapped[Candidate] = mapped_column(server_default="0")
    kind: Mapped[CheckpointKind] = mapped_column(enum_column(CheckpointKind))
    step: Mapped[int] = mapped_column(Integer)
    storage_key: Mapped[str] = mapped_column(String(500))
    manifest: Mapped[Json]
    digest: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[Big]
    metrics: Mapped[Json]
    lineage: Mapped[Json]
    selected: Mapped[bool | None]  # of a policy: whether its round went on with it; None before that is decided
    promoted: Mapped[bool | None]  # by its own run's evaluation; None before it, and for a reward model
    promotion_reasons: Mapped[JsonList | None]
    created_at: Mapped[CreatedAt]


class Evaluation(Base):
    """The held-out measurement by a judge: of a policy checkpoint, or of what an evaluation without training names."""

    __tablename__ = "evaluations"
    __table_args__ = (
        UniqueConstraint("run_id", "round", "checkpoint_id", "judge_id"),
        UniqueConstraint("run_id", "measured_id"),
        CheckConstraint("(checkpoint_id IS NULL) <> (measured_id IS NULL)", name="of_one_thing"),
    )

    id: Mapped[Id]
    project_id: Mapped[Ref] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    run_id: Mapped[Ref] = mapped_column(ForeignKey("runs.id", ondelete="CASCADE"))
    round: Mapped[int] = mapped_column(SmallInteger)
    checkpoint_id: Mapped[Ref | None] = mapped_column(ForeignKey("checkpoints.id", ondelete="CASCADE"))
    measured_id: Mapped[Ref | None]  # a model, or a judge whose endpoint answered: see app.rlaif.measure
    judge_id: Mapped[Ref] = mapped_column(ForeignKey("judges.id"))
    metrics: Mapped[Json]
    created_at: Mapped[CreatedAt]
    candidate: Mapped[int] = column_property(  # which candidate of a sweep the checkpoint is
        func.coalesce(select(Checkpoint.candidate).where(Checkpoint.id == checkpoint_id).scalar_subquery(), 0)
    )
