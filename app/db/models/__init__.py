"""Every table. Import models from here."""

from app.db.models.annotations import Annotation, AnnotationItem, AnnotationQueue, AnnotationSeat, ItemState
from app.db.models.engine import Event, MetricPoint, Outbox, Run, RunStatus, Shard, ShardStatus, Stage, StageStatus
from app.db.models.inputs import Judge, Model, ModelKind, Prompt, PromptSet, Rubric, RubricRevision, Split
from app.db.models.results import (
    Checkpoint,
    CheckpointKind,
    Comparison,
    Completion,
    CompletionSource,
    Evaluation,
    Preference,
    Purpose,
    Verdict,
)
from app.db.models.tenancy import ApiKey, IdempotencyKey, Project, Scope, Secret

__all__ = [
    "Annotation",
    "AnnotationItem",
    "AnnotationQueue",
    "AnnotationSeat",
    "ApiKey",
    "Checkpoint",
    "CheckpointKind",
    "Comparison",
    "Completion",
    "CompletionSource",
    "Evaluation",
    "Event",
    "IdempotencyKey",
    "ItemState",
    "Judge",
    "MetricPoint",
    "Model",
    "ModelKind",
    "Outbox",
    "Preference",
    "Project",
    "Prompt",
    "PromptSet",
    "Purpose",
    "Rubric",
    "RubricRevision",
    "Run",
    "RunStatus",
    "Scope",
    "Secret",
    "Shard",
    "ShardStatus",
    "Split",
    "Stage",
    "StageStatus",
    "Verdict",
]
