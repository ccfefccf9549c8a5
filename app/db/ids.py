"""Resource ids: TypeIDs (prefix and UUIDv7), sortable by creation, readable in a URL, a log and a row."""

from __future__ import annotations

from enum import StrEnum

from typeid import TypeID


class Kind(StrEnum):
    """The prefixes."""

    PROJECT = "project"
    KEY = "key"
    SECRET = "secret"  # noqa: S105  a prefix, not a password
    RUBRIC = "rubric"
    REVISION = "revision"
    PROMPT_SET = "pset"
    PROMPT = "prompt"
    MODEL = "model"
    JUDGE = "judge"
    RUN = "run"
    STAGE = "stage"
    SHARD = "shard"
    ANSWER_SET = "answers"
    COMPLETION = "completion"
    REVISED_ANSWER = "revised"
    COMPARISON = "comparison"
    VERDICT = "verdict"
    SCORE = "score"
    PREFERENCE = "preference"
    CHECKPOINT = "checkpoint"
    EVALUATION = "evaluation"
    CALIBRATION = "calibration"
    CANARY = "canary"
    TASK = "task"
    STANDING_COHORT = "cohort"
    TRACE = "trace"
    ANNOTATION_QUEUE = "queue"
    ANNOTATION_ITEM = "item"
    ANNOTATION_SEAT = "claim"
    ANNOTATION = "annotation"


def new_id(kind: Kind) -> str:
    """A fresh id such as `run_01m7xk5mgzeyva4mageqj2tqtk`."""
    return str(TypeID(prefix=kind.value))
