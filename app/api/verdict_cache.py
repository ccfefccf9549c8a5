"""`/v1/verdict-cache`: the replies of judges that a project has paid for, and asks again when they are gone."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from app.api.bodies import StrictRoute
from app.api.dependencies import Writer, WriteSession
from app.repositories import reply_cache
from app.schemas.verdict_cache import ForgottenOut

router = APIRouter(prefix="/v1/verdict-cache", tags=["judges"], route_class=StrictRoute)


@router.delete("", operation_id="forget_replies")
def forget_replies(
    caller: Writer,
    session: WriteSession,
    older_than_days: Annotated[
        float | None, Query(gt=0, le=36_500, description="Only those that were stored longer ago than this")
    ] = None,
) -> ForgottenOut:
    """Delete the project's stored replies, or the older ones. Verdicts stay; the same questions are asked anew."""
    return ForgottenOut(deleted=reply_cache.forget(session, caller.project_id, older_than_days=older_than_days))
