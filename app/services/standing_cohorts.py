"""Standing cohorts: production's exchanges come in as they are logged, and prompt sets are drawn of them.

A draw is an immutable prompt set, so an evaluation on it can be repeated; a refresh that changes nothing makes none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import IO

from sqlalchemy import func
from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import PromptSet, StandingCohort
from app.db.models import Trace as TraceRow
from app.db.session import WriteSession
from app.errors import Conflict, InvalidInput, NotFound
from app.jsonl import BadLine, Line, read_lines
from app.problem_fields import FieldError
from app.repositories import standing_cohorts
from app.repositories.named import insert_named
from app.repositories.pages import Chunk, Slice
from app.repositories.standing_cohorts import IncomingTrace
from app.rlaif.messages import as_json
from app.rlaif.prompt import Prompt
from app.rlaif.traces import Trace, TraceFormat, Unusable, traces
from app.schemas.standing_cohort import StandingCohortIn
from app.services import prompt_sets
from app.services.bad_lines import MOST_ERRORS, field_error, refusal, uploading


class InvalidTraces(InvalidInput):
    """Raised when lines are not of the format: `errors` names up to 100 of them. Nothing was stored."""


class NothingToDraw(Conflict):
    """Raised when a standing cohort is refreshed that has no trace young enough."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an upload brought."""

    exchanges: int
    added: int
    known: int
    skipped: dict[Unusable, int]


def create(session: WriteSession, project_id: str, request: StandingCohortIn) -> StandingCohort:
    """Raises NameTaken."""
    cohort = StandingCohort(
        id=new_id(Kind.STANDING_COHORT),
        project_id=project_id,
        name=request.name,
        cohort=request.cohort,
        size=request.size,
        maximum_age_days=request.maximum_age_days,
    )
    insert_named(session, cohort)
    return cohort


def get(session: Session, project_id: str, cohort_id: str) -> StandingCohort:
    """Raises NotFound."""
    if (cohort := standing_cohorts.get(session, project_id, cohort_id)) is None:
        raise NotFound.of("standing cohort", cohort_id)
    return cohort


def page(session: Session, project_id: str, slice_: Slice, *, name: str | None) -> Chunk[StandingCohort]:
    return standing_cohorts.page(session, project_id, slice_, name=name)


def trace_page(session: Session, project_id: str, cohort_id: str, slice_: Slice) -> Chunk[TraceRow]:
    """Raises NotFound."""
    return standing_cohorts.traces(session, get(session, project_id, cohort_id).id, slice_)


def forget(session: WriteSession, project_id: str, cohort_id: str) -> None:
    """Delete the cohort and its traces. What was drawn of it stays. Raises NotFound."""
    standing_cohorts.forget(session, get(session, project_id, cohort_id))


def take_in(
    session: WriteSession,
    project_id: str,
    cohort_id: str,
    *,
    content: IO[bytes],
    format_: TraceFormat,
    max_line: int,
    max_total: int,
) -> Imported:
    """Read an upload once, in constant memory. An exchange that is no use is counted; a line of another format is bad.

    Raises NotFound, InvalidTraces, UploadTooLarge, UploadDamaged.
    """
    cohort = get(session, project_id, cohort_id)
    intake = _Intake(format_)
    with uploading("upload"):
        lines = read_lines(content, max_line=max_line, max_total=max_total)
        standing_cohorts.copy_in(session, intake.rows(lines))
    if intake.errors:
        raise refusal(InvalidTraces, intake.errors)
    added = standing_cohorts.move_in(session, cohort)
    return Imported(intake.usable + intake.skipped.total(), added, intake.usable - added, dict(intake.skipped))


def refresh(session: WriteSession, project_id: str, cohort_id: str) -> StandingCohort:
    """Draw again; where that gives the same prompts as before, the prompt set stays. Raises NotFound, NothingToDraw."""
    cohort = standing_cohorts.get(session, project_id, cohort_id, locked=True)
    if cohort is None:
        raise NotFound.of("standing cohort", cohort_id)
    prompts = [_prompt(trace, cohort) for trace in standing_cohorts.drawn(session, cohort)]
    if not prompts:
        aged = "" if cohort.maximum_age_days is None else f" of the last {cohort.maximum_age_days} days"
        raise NothingToDraw(
            f"standing cohort {cohort_id!r} has no traces{aged}: POST some to /v1/standing-cohorts/{cohort_id}/traces"
        )
    digest = prompt_sets.digest(prompts, held_out=1.0)
    before = None if cohort.prompt_set_id is None else session.get_one(PromptSet, cohort.prompt_set_id)
    if before is None or before.digest != digest:
        name = f"{cohort.name[:180]} {digest[:12]}"
        cohort.prompt_set_id = _drawn_before(session, project_id, name, digest) or _new(session, cohort, name, prompts)
    cohort.refreshed_at = func.now()
    session.flush()
    session.refresh(cohort)
    return cohort


def _drawn_before(session: Session, project_id: str, name: str, digest: str) -> str | None:
    found = prompt_sets.page(session, project_id, Slice(1), name=name).rows
    return found[0].id if found and found[0].digest == digest else None


def _new(session: WriteSession, cohort: StandingCohort, name: str, prompts: Iterable[Prompt]) -> str:
    return prompt_sets.create(session, cohort.project_id, name=name, prompts=prompts, held_out=1.0).id


def _prompt(trace: TraceRow, cohort: StandingCohort) -> Prompt:
    """The question, held out, with production's answer for a candidate."""
    return Prompt.model_validate(
        {
            "id": trace.id,
            "messages": trace.messages,
            "tools": trace.tools,
            "cohort": cohort.cohort,
            "split": "held_out",
            "candidates": [trace.response],
            "authors": [trace.model],
        }
    )


class _Intake:
    """Turns lines into rows, and counts what went by."""

    def __init__(self, format_: TraceFormat) -> None:
        self._format = format_
        self.errors: list[FieldError] = []
        self.skipped: Counter[Unusable] = Counter()
        self.usable = 0

    def rows(self, lines: Iterable[Line | BadLine]) -> Iterator[IncomingTrace]:
        for line in lines:
            try:
                found = [] if isinstance(line, BadLine) else list(traces(line.value, self._format))
            except ValueError as error:
                line, found = BadLine(line.number, str(error)), []
            if isinstance(line, BadLine):
                self.errors.append(field_error(line))
                if len(self.errors) >= MOST_ERRORS:
                    return
            elif not self.errors:
                yield from self._usable(line.number, found)

    def _usable(self, number: int, found: Iterable[Trace | Unusable]) -> Iterator[IncomingTrace]:
        for trace in found:
            if isinstance(trace, Unusable):
                self.skipped[trace] += 1
                continue
            self.usable += 1
            messages = [message.as_dict() for message in trace.messages]
            tools = None if trace.tools is None else list(trace.tools)
            id_ = new_id(Kind.TRACE)
            yield number, id_, trace.prompt_hash, messages, tools, as_json(trace.response), trace.model, trace.at
