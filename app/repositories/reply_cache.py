"""Replies that were paid for, by what determined them. Read and written in blocks."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import LargeBinary, any_, delete, func, literal, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app.db.base import storable
from app.db.models import CachedReply
from app.rlaif.replies import Finish, Reply, ReplyToken
from app.rlaif.reply_keys import Kept, Remembered

_ADD = text("""
INSERT INTO verdict_cache (project_id, key, reply, prompt_tokens, completion_tokens, cost_usd)
SELECT :project, key, reply::jsonb, prompt_tokens, completion_tokens, cost_usd
FROM unnest(
    CAST(:keys AS bytea[]), CAST(:replies AS text[]), CAST(:prompt_tokens AS int[]),
    CAST(:completion_tokens AS int[]), CAST(:costs AS numeric[])
) AS row (key, reply, prompt_tokens, completion_tokens, cost_usd)
ON CONFLICT (project_id, key) DO UPDATE SET reply = excluded.reply, prompt_tokens = excluded.prompt_tokens,
    completion_tokens = excluded.completion_tokens, cost_usd = excluded.cost_usd, created_at = now()
""")


def recall(
    session: Session, project_id: str, keys: Collection[bytes], *, max_age_days: float | None
) -> dict[bytes, Remembered]:
    """Those of the replies that are stored, and no older than asked for."""
    query = select(
        CachedReply.key,
        CachedReply.reply,
        CachedReply.prompt_tokens,
        CachedReply.completion_tokens,
        CachedReply.cost_usd,
    ).where(CachedReply.project_id == project_id, CachedReply.key == any_(literal(list(keys), ARRAY(LargeBinary))))
    if max_age_days is not None:
        query = query.where(CachedReply.created_at > func.now() - _days(max_age_days))
    return {
        row.key: Remembered(_reply(row.reply), row.prompt_tokens, row.completion_tokens, row.cost_usd)
        for row in session.execute(query)
    }


def remember(session: Session, project_id: str, replies: Sequence[Kept]) -> None:
    """Store them; a newer reply takes the place of an older one."""
    latest = {each.key: each.remembered for each in replies}
    if not latest:
        return
    found = sorted(latest.items())  # by key, so that two writers wait for each other in one order
    session.execute(
        _ADD,
        {
            "project": project_id,
            "keys": [key for key, _ in found],
            "replies": [_json(each.reply) for _, each in found],
            "prompt_tokens": [each.prompt_tokens for _, each in found],
            "completion_tokens": [each.completion_tokens for _, each in found],
            "costs": [each.cost_usd for _, each in found],
        },
    )


def forget(session: Session, project_id: str, *, older_than_days: float | None) -> int:
    """Delete a project's replies, or those older than so many days; says how many."""
    gone = delete(CachedReply).where(CachedReply.project_id == project_id)
    if older_than_days is not None:
        gone = gone.where(CachedReply.created_at <= func.now() - _days(older_than_days))
    return int(session.execute(gone.execution_options(synchronize_session=False)).rowcount)  # type: ignore[attr-defined]


def _days(count: float) -> Any:
    return func.make_interval(0, 0, 0, 0, 0, 0, count * 86_400)


def _json(reply: Reply) -> str:
    tokens = [
        [storable(token.text), {storable(name): at for name, at in token.alternatives.items()}]
        for token in reply.tokens
    ]
    return json.dumps({"text": storable(reply.text), "finish": reply.finish, "tokens": tokens}, separators=(",", ":"))


def _reply(stored: dict[str, Any]) -> Reply:
    return Reply(
        stored["text"],
        finish=Finish(stored["finish"]),
        tokens=tuple(ReplyToken(name, alternatives) for name, alternatives in stored["tokens"]),
    )
