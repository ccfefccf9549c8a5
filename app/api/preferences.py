"""`/v1/runs/{run_id}/preferences`: what is believed, also in the formats that trainers take."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query, Response

from app.api import exports
from app.api.bodies import StrictRoute
from app.api.dependencies import Reader, ReadSession, ReadSessions
from app.api.exports import JSONL, Format, Listing
from app.api.pagination import Paging
from app.api.runs import RunId
from app.db.models import Split
from app.db.session import SessionFactory
from app.repositories import results
from app.repositories.results import PreferenceFilter, Provenance
from app.schemas.page import Page
from app.schemas.preference import PreferenceOut
from app.services import exports as streams
from app.services import runs

router = APIRouter(prefix="/v1/runs", tags=["results"], route_class=StrictRoute)


class PreferenceFormat(StrEnum):
    JSON = "json"
    JSONL = "jsonl"
    PARQUET = "parquet"
    TRL = "trl"
    OPENAI = "openai"


@router.get(
    "/{run_id}/preferences",
    response_model=Page[PreferenceOut],
    operation_id="list_preferences",
    responses=exports.RESPONSES,
)
def list_preferences(
    run_id: RunId,
    caller: Reader,
    session: ReadSession,
    sessions: ReadSessions,
    paging: Paging,
    split: Annotated[
        Split | None, Query(description="Only of this split; `trl` and `openai` give the train split unless told")
    ] = None,
    include_dropped: Annotated[
        bool, Query(description="Also what nothing is trained on, with the reason; not with `trl` and `openai`")
    ] = False,
    format_: Annotated[
        PreferenceFormat,
        Query(
            alias="format",
            description="`json`: a page; the others: all rows, streamed. `trl`: prompt, chosen, rejected and P(chosen "
            "is better) as JSONL; `openai`: OpenAI's preference fine-tuning format as JSONL",
        ),
    ] = PreferenceFormat.JSON,
) -> Response:
    """List or export a run's preferences; of an even pair neither side is chosen, so trainers' formats leave it out."""
    provenance = runs.provenance(session, caller.project_id, run_id)
    if format_ in (PreferenceFormat.TRL, PreferenceFormat.OPENAI):
        return _for_trainers(sessions, provenance, PreferenceFilter(split or Split.TRAIN), format_)
    where = PreferenceFilter(split, include_dropped)
    listing = Listing(
        "preferences", lambda read, slice_: results.preferences(read, provenance, where, slice_), PreferenceOut
    )
    return exports.respond(listing, Format(format_), paging=paging, session=session, sessions=sessions)


def _for_trainers(
    sessions: SessionFactory, provenance: Provenance, where: PreferenceFilter, format_: PreferenceFormat
) -> Response:
    rows = streams.batches(sessions, lambda read, slice_: results.preference_texts(read, provenance, where, slice_))
    groups = streams.as_trl(rows) if format_ is PreferenceFormat.TRL else streams.as_openai(rows)
    return exports.attachment(streams.as_jsonl(groups), f"preferences.{format_}.jsonl", JSONL)
