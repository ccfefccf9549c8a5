"""What is said of a rubric: the linter's findings, and what changed between two revisions."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.db.models import RubricRevision
from app.rlaif.rubric_diff import Change, ChangeKind, Edit, Part
from app.rlaif.rubric_finding import Finding, FindingKind


class _Out(BaseModel):
    model_config = ConfigDict(frozen=True, from_attributes=True)


class FindingOut(_Out):
    """One thing to mend."""

    criterion: str | None = Field(
        description="None where it is about the description, a principle or golden examples", examples=["tone"]
    )
    kind: FindingKind
    words: tuple[str, ...] = Field(description="What caused it, as it stands there", examples=[["appropriate"]])
    why: str = Field(examples=["every judge fills it with its own taste"])
    remedy: str = Field(examples=["say what a reader would point at in the response"])
    other: str | None = Field(description="The second criterion of a contradiction or a duplicate", examples=[None])


class LintOut(BaseModel):
    """The findings, in the rubric's order. None is no proof that the rubric is good."""

    model_config = ConfigDict(frozen=True)

    findings: list[FindingOut]

    @classmethod
    def of(cls, findings: tuple[Finding, ...]) -> Self:
        return cls(findings=[FindingOut.model_validate(finding) for finding in findings])


class WordEditOut(_Out):
    """A stretch of text: `same` and `removed` together are the text before, `same` and `added` the text after."""

    edit: Edit
    text: str


class FieldChangeOut(_Out):
    """One field's two values; `words` where both are texts."""

    field: str = Field(description="A check's or an anchor's own field with its place", examples=["check.maximum"])
    before: JsonValue
    after: JsonValue
    words: tuple[WordEditOut, ...]


class ChangeOut(_Out):
    """One part that is new, gone or different."""

    part: Part
    name: str = Field(description="A principle's is its place, counted from 1", examples=["brief"])
    change: ChangeKind
    fields: tuple[FieldChangeOut, ...]


class RevisionRef(BaseModel):
    """Which revision."""

    model_config = ConfigDict(frozen=True, from_attributes=True)

    id: str = Field(examples=["revision_01m7xk5mgzeyva4mageqj2tqtk"])
    number: int = Field(examples=[1])
    content_hash: str


class RubricDiffOut(BaseModel):
    """What changed from one revision to another; no changes exactly when their content is equal."""

    model_config = ConfigDict(frozen=True)

    before: RevisionRef
    after: RevisionRef
    changes: list[ChangeOut]

    @classmethod
    def of(cls, before: RubricRevision, after: RubricRevision, changes: tuple[Change, ...]) -> Self:
        return cls(
            before=RevisionRef.model_validate(before),
            after=RevisionRef.model_validate(after),
            changes=[ChangeOut.model_validate(change) for change in changes],
        )
