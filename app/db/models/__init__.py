"""Every table. Import models from here."""

from app.db.models.annotations import Annotation, AnnotationItem, AnnotationQueue, AnnotationSeat, ItemState
from app.db.models.answers import AnswerSet
from app.db.models.calibrations import Calibration, Canary
from app.db.models.endpoints import CachedReply, DeploymentKey, EndpointMember, EndpointState
from app.db.models.engine import (
    Event,
    MetricPoint,
    Outbox,
    Run,
    RunKind,
    RunStatus,
    Shard,
    ShardStatus,
    Stage,
    StageStatus,
)
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
    Score,
    Verdict,
)
from app.db.models.revisions import RevisedAnswer
from app.db.models.tasks import Task, TaskDocument, TaskOutcome
from app.db.models.tenancy import ApiKey, IdempotencyKey, Project, Scope, Secret
from app.db.models.traces import StandingCohort, Trace

__all__ = [
    "Annotation",
    "AnnotationItem",
    "AnnotationQueue",
    "AnnotationSeat",
    "AnswerSet",
    "ApiKey",
    "CachedReply",
    "Calibration",
    "Canary",
    "Checkpoint",
    "CheckpointKind",
    "Comparison",
    "Completion",
    "CompletionSource",
    "DeploymentKey",
    "EndpointMember",
    "EndpointState",
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
    "RevisedAnswer",
    "Rubric",
    "RubricRevision",
    "Run",
    "RunKind",
    "RunStatus",
    "Scope",
    "Score",
    "Secret",
    "Shard",
    "ShardStatus",
    "Split",
    "Stage",
    "StageStatus",
    "StandingCohort",
    "Task",
    "TaskDocument",
    "TaskOutcome",
    "Trace",
    "Verdict",
]
