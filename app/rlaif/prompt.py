"""One prompt of a prompt set: what is sampled from, judged on and measured with. Also reads TRL's preference rows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app.rlaif.annotation import Annotator
from app.rlaif.checks import InvalidRubric, validate_rubric
from app.rlaif.comparison import Answer
from app.rlaif.messages import Chat, Content, Message, Role, as_response
from app.rlaif.rubric import Criterion, Rubric

MOST_CANDIDATES = 64
Candidate = Annotated[Chat, AfterValidator(as_response)]
ExternalId = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Author = Annotated[str, StringConstraints(min_length=1, max_length=100)]
Cohort = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.-]{0,99}$")]


class KnownPreference(BaseModel):
    """What the author believes of two candidates, named by their index."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: Annotated[int, Field(strict=True, ge=0)]
    second: Annotated[int, Field(strict=True, ge=0)]
    probability: Annotated[float, Field(strict=True, ge=0, le=1)] = Field(
        1.0, description="That the first is better", examples=[0.9]
    )


class KnownAnnotation(BaseModel):
    """What one person answered about two candidates, named by their index."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    first: Annotated[int, Field(strict=True, ge=0)]
    second: Annotated[int, Field(strict=True, ge=0)]
    annotator: Annotator
    answer: Literal[Answer.A, Answer.B, Answer.TIE] = Field(description="A: the first is better", examples=["A"])
    adjudication: Annotated[bool, Field(strict=True)] = Field(
        False, description="Whether this answer settles what the others disagree on"
    )


class Prompt(BaseModel):
    """One prompt. `prompt` may stand for `messages`; `chosen` and `rejected`, with the `probability` that the first of
    them is better, for two candidates and a preference."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        json_schema_extra={
            "examples": [
                {
                    "id": "kites-1",
                    "messages": [{"role": "user", "content": "Tell me something about kites."}],
                    "cohort": "helpfulness",
                    "split": "train",
                },
                {"prompt": "What is salt?", "chosen": "A mineral.", "rejected": "No idea."},
            ]
        },
    )

    id: ExternalId | None = Field(None, description="The author's own id, unique in the set; its position if absent")
    messages: Annotated[tuple[Message, ...], Field(min_length=1, max_length=1000)]
    tools: Annotated[tuple[dict[str, Any], ...], Field(max_length=128)] | None = Field(
        None, description="Function definitions in the OpenAI format"
    )
    cohort: Cohort = Field("general", description="helpfulness, harmlessness, capability, regression, ...")
    split: Literal["train", "held_out"] | None = Field(
        None, description="If absent, a fixed share of the prompts, chosen by their content, is held out"
    )
    reference: Content | None = Field(None, description="A good answer, where one is known")
    criteria: Annotated[tuple[Criterion, ...], Field(max_length=100)] = Field(
        (), description="Criteria for this prompt alone; one of the same name replaces the rubric's"
    )
    candidates: Annotated[tuple[Candidate, ...], Field(max_length=MOST_CANDIDATES)] = Field(
        (), description="Ready-made responses: texts, or trajectories as chat messages with tool calls and results"
    )
    preferences: Annotated[tuple[KnownPreference, ...], Field(max_length=2016)] = Field(
        (), description="Ready-made preferences between the candidates"
    )
    authors: Annotated[tuple[Author | None, ...], Field(max_length=MOST_CANDIDATES)] = Field(
        (), description="Family of the model that wrote each candidate, null where it is not known; all or none"
    )
    annotations: Annotated[tuple[KnownAnnotation, ...], Field(max_length=1_000_000)] = Field(
        (), description="People's answers about pairs of candidates, several a pair: what judges are calibrated on"
    )
    outcomes: Annotated[tuple[Annotated[bool, Field(strict=True)] | None, ...], Field(max_length=MOST_CANDIDATES)] = (
        Field((), description="Whether each candidate is known to have succeeded, null where nobody knows; all or none")
    )

    @model_validator(mode="before")
    @classmethod
    def _from_other_shapes(cls, row: Any) -> Any:
        return _as_prompt(row) if isinstance(row, dict) and not row.keys().isdisjoint(_OTHER_KEYS) else row

    @model_validator(mode="after")
    def _asks_something(self) -> Self:
        if self.messages[-1].role not in (Role.USER, Role.TOOL):
            raise ValueError(f"the last message must be the user's or a tool's, not the {self.messages[-1].role}'s")
        if not any((message.content or "").strip() for message in self.messages):
            raise ValueError("the prompt is empty: write something to answer")
        return self

    @model_validator(mode="after")
    def _preferences_point_at_candidates(self) -> Self:
        pairs = [frozenset((known.first, known.second)) for known in self.preferences]
        for known in self.preferences:
            self._require_two(f"preference {known.first} over {known.second}", known)
        if len(set(pairs)) < len(pairs):
            raise ValueError("two preferences are about the same two candidates: give one, with its probability")
        return self

    @model_validator(mode="after")
    def _annotations_point_at_candidates(self) -> Self:
        seen = set[tuple[frozenset[int], str]]()
        for known in self.annotations:
            self._require_two(f"the annotation of {known.first} and {known.second} by {known.annotator!r}", known)
            unit = (frozenset((known.first, known.second)), known.annotator)
            if unit in seen:
                raise ValueError(
                    f"{known.annotator!r} answers twice about candidates {known.first} and {known.second}: keep one"
                )
            seen.add(unit)
        return self

    @model_validator(mode="after")
    def _every_candidate_has_its_author(self) -> Self:
        if self.authors and len(self.authors) != len(self.candidates):
            raise ValueError(
                f"{len(self.authors)} authors for {len(self.candidates)} candidates: name each one's, null if unknown"
            )
        return self

    @model_validator(mode="after")
    def _every_candidate_has_its_outcome(self) -> Self:
        if self.outcomes and len(self.outcomes) != len(self.candidates):
            raise ValueError(
                f"{len(self.outcomes)} outcomes for {len(self.candidates)} candidates: give each one's, null if unknown"
            )
        return self

    def _require_two(self, what: str, known: KnownPreference | KnownAnnotation) -> None:
        if known.first == known.second or max(known.first, known.second) >= len(self.candidates):
            raise ValueError(
                f"{what} needs two different candidates of the {len(self.candidates)} given, counted from 0"
            )

    @model_validator(mode="after")
    def _criteria_can_run(self) -> Self:
        if self.criteria:
            try:
                validate_rubric(Rubric(criteria=self.criteria))
            except InvalidRubric as error:
                raise ValueError(str(error)) from error
        return self

    def with_split(self, held_out: float) -> Self:
        """This prompt with a split; equal messages get the same one, so none is on both sides."""
        if self.split is not None:
            return self
        canonical = json.dumps([message.as_dict() for message in self.messages], sort_keys=True)
        share = int.from_bytes(hashlib.sha256(canonical.encode()).digest()[:8], "big") / 2**64
        return self.model_copy(update={"split": "held_out" if share < held_out else "train"})


_OTHER_KEYS = frozenset({"prompt", "chosen", "rejected"})


def _as_prompt(row: dict[str, Any]) -> dict[str, Any]:
    """A row with TRL's keys (https://huggingface.co/docs/trl/dataset_formats) in this service's own."""
    ours = {key: value for key, value in row.items() if key not in _OTHER_KEYS}
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if ("chosen" in row) != ("rejected" in row):
        raise ValueError("chosen and rejected come together")
    if "chosen" in row and not ours.keys().isdisjoint(("candidates", "preferences")):
        raise ValueError("chosen and rejected stand for candidates and preferences: give either")
    if "prompt" in row:
        if "messages" in ours:
            raise ValueError("prompt stands for messages: give either")
        ours["messages"] = _messages(row["prompt"])
    elif "messages" not in ours and isinstance(chosen, list) and isinstance(rejected, list):
        shared = _shared_start(chosen, rejected)
        ours["messages"], chosen, rejected = chosen[:shared], chosen[shared:], rejected[shared:]
    if "chosen" in row:
        ours["candidates"] = [_response(chosen, "chosen"), _response(rejected, "rejected")]
        ours["preferences"] = [{"first": 0, "second": 1, "probability": ours.pop("probability", 1.0)}]
    return ours


def _messages(prompt: Any) -> Any:
    return [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt


def _shared_start(chosen: Sequence[Any], rejected: Sequence[Any]) -> int:
    pairs = zip(chosen, rejected, strict=False)
    return next((index for index, (a, b) in enumerate(pairs) if a != b), min(len(chosen), len(rejected)))


def _response(value: Any, field: str) -> str:
    """A text, or the text of the single assistant message that TRL's conversational rows hold."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
        value = value[0].get("content") if value[0].get("role") == "assistant" else None
    if not isinstance(value, str) or not value:
        raise ValueError(f"{field} must be a text or one assistant message, and not empty")
    return value
