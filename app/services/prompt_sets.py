"""Prompt sets: named and immutable. A set comes in whole or not at all, and every bad line is named."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator
from typing import IO

from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import Prompt as PromptRow
from app.db.models import PromptSet, Split
from app.db.session import SessionFactory, WriteSession
from app.errors import InvalidInput, NotFound
from app.jsonl import BadLine, Line, read_lines
from app.problem_fields import FieldError
from app.repositories import prompt_sets
from app.repositories.named import insert_named
from app.repositories.pages import Chunk, Slice, walk
from app.repositories.prompt_sets import Clash, IncomingPrompt
from app.rlaif.messages import as_json
from app.rlaif.prompt import Prompt
from app.services.bad_lines import MOST_ERRORS, clash, field_error, refusal, uploading, validated


class InvalidPrompts(InvalidInput):
    """Raised when lines are refused: `errors` names up to 100 of them. Nothing was stored."""


class EmptyPromptSet(InvalidInput):
    """Raised when there is no prompt at all."""


def create(
    session: WriteSession,
    project_id: str,
    *,
    name: str,
    prompts: Iterable[Prompt],
    held_out: float,
    listed: bool = True,
) -> PromptSet:
    """A set of prompts that are at hand; not `listed` where it is for one run. Raises NameTaken, InvalidPrompts."""
    lines = (Line(number, prompt) for number, prompt in enumerate(prompts, start=1))
    prompt_set = _store(session, project_id, name=name, lines=lines, held_out=held_out)
    prompt_set.listed = listed
    return prompt_set


def digest(prompts: Iterable[Prompt], *, held_out: float) -> str:
    """The digest that a set of these prompts has."""
    intake = _Intake(held_out)
    deque(intake.rows(Line(number, prompt) for number, prompt in enumerate(prompts, start=1)), maxlen=0)
    return intake.digest()


def upload(
    session: WriteSession,
    project_id: str,
    *,
    name: str,
    content: IO[bytes],
    held_out: float,
    max_line: int,
    max_total: int,
) -> PromptSet:
    """A set from JSON lines, read once, in constant memory.

    Raises NameTaken, InvalidPrompts, EmptyPromptSet, UploadTooLarge, UploadDamaged.
    """
    with uploading("set"):
        lines = (validated(line, Prompt) for line in read_lines(content, max_line=max_line, max_total=max_total))
        return _store(session, project_id, name=name, lines=lines, held_out=held_out)


def get(session: Session, project_id: str, prompt_set_id: str) -> PromptSet:
    """Raises NotFound."""
    if (prompt_set := prompt_sets.get(session, project_id, prompt_set_id)) is None:
        raise NotFound.of("prompt set", prompt_set_id)
    return prompt_set


def page(session: Session, project_id: str, slice_: Slice, *, name: str | None) -> Chunk[PromptSet]:
    return prompt_sets.page(session, project_id, slice_, name=name)


def prompts(session: Session, project_id: str, prompt_set_id: str, slice_: Slice) -> Chunk[PromptRow]:
    """Raises NotFound."""
    return prompt_sets.prompts(session, get(session, project_id, prompt_set_id).id, slice_)


def every_prompt(sessions: SessionFactory, prompt_set_id: str) -> Iterator[tuple[PromptRow, ...]]:
    """All prompts of a set, in order, in batches."""
    return walk(sessions, lambda session, slice_: prompt_sets.prompts(session, prompt_set_id, slice_))


def _canonical(prompt: Prompt) -> bytes:
    """What is left out where it is empty came later, and changes no older set's digest."""
    later = {name for name in ("authors", "annotations", "outcomes") if not getattr(prompt, name)}
    content = prompt.model_dump(mode="json", exclude_none=True, exclude={"id", *later})
    return json.dumps(content, sort_keys=True).encode() + b"\n"


def _store(
    session: WriteSession, project_id: str, *, name: str, lines: Iterable[Line | BadLine], held_out: float
) -> PromptSet:
    prompt_set = PromptSet(
        id=new_id(Kind.PROMPT_SET),
        project_id=project_id,
        name=name,
        train_count=0,
        held_out_count=0,
        cohorts={},
        digest="",
    )
    insert_named(session, prompt_set)
    intake = _Intake(held_out)
    prompt_sets.copy_in(session, intake.rows(lines))
    intake.require_good()
    _require_coherent(session)
    _describe(prompt_set, prompt_sets.counts(session), intake.digest())
    session.flush()
    prompt_sets.move_in(session, prompt_set)
    return prompt_set


class _Intake:
    """Turns lines into rows, and remembers what was wrong and what went by."""

    def __init__(self, held_out: float) -> None:
        self._held_out = held_out
        self._digest = hashlib.sha256()
        self._errors: list[FieldError] = []
        self._position = 0

    def rows(self, lines: Iterable[Line | BadLine]) -> Iterator[IncomingPrompt]:
        for line in lines:
            if isinstance(line, BadLine):
                self._errors.append(field_error(line))
                if len(self._errors) >= MOST_ERRORS:
                    return
            elif not self._errors:
                yield self._row(line)

    def require_good(self) -> None:
        """Raises InvalidPrompts, EmptyPromptSet."""
        if self._errors:
            raise refusal(InvalidPrompts, self._errors)
        if self._position == 0:
            raise EmptyPromptSet("the set has no prompts: send at least one", field="body")

    def digest(self) -> str:
        return self._digest.hexdigest()

    def _row(self, line: Line) -> IncomingPrompt:
        prompt: Prompt = line.value.with_split(self._held_out)
        self._digest.update(_canonical(prompt))
        row = IncomingPrompt(
            line=line.number,
            id=new_id(Kind.PROMPT),
            position=self._position,
            external_id=str(self._position) if prompt.id is None else prompt.id,
            messages=[message.as_dict() for message in prompt.messages],
            tools=None if prompt.tools is None else list(prompt.tools),
            cohort=prompt.cohort,
            split=Split(prompt.split or Split.TRAIN),
            reference=prompt.reference,
            criteria=[criterion.model_dump(mode="json") for criterion in prompt.criteria],
            candidates=[as_json(candidate) for candidate in prompt.candidates],
            preferences=[known.model_dump(mode="json") for known in prompt.preferences],
            authors=list(prompt.authors),
            annotations=[known.model_dump(mode="json") for known in prompt.annotations],
            outcomes=list(prompt.outcomes),
        )
        self._position += 1
        return row


def _require_coherent(session: Session) -> None:
    """Raises InvalidPrompts when two lines share an id, or a prompt is both trained on and held out."""
    if twice := prompt_sets.duplicate_ids(session, limit=MOST_ERRORS):
        raise refusal(
            InvalidPrompts, [_clash(each, "id", "the id {value!r} is already line {earlier}'s") for each in twice]
        )
    if leaks := prompt_sets.split_leaks(session, limit=MOST_ERRORS):
        message = "its messages are held out here and trained on at line {earlier}: the measurement would be worthless"
        raise refusal(InvalidPrompts, [_clash(each, "split", message) for each in leaks])


def _clash(found: Clash, field: str, message: str) -> FieldError:
    return clash(found.line, message.format(value=found.value, earlier=found.earlier), field=field)


def _describe(prompt_set: PromptSet, counts: dict[tuple[str, str], int], digest: str) -> None:
    prompt_set.digest = digest
    prompt_set.train_count = sum(count for (split, _), count in counts.items() if split == Split.TRAIN)
    prompt_set.held_out_count = sum(count for (split, _), count in counts.items() if split == Split.HELD_OUT)
    cohorts: dict[str, int] = {}
    for (_, cohort), count in counts.items():
        cohorts[cohort] = cohorts.get(cohort, 0) + count
    prompt_set.cohorts = cohorts
