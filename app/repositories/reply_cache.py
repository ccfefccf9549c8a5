"""Replies that were paid for, by what determined them. Read and written in blocks."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import LargeBinary, any_, cast, delete, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Session

from app.db.base import storable
from app.db.models import CachedReply
from app.rlaif.replies import Finish, Reply, ReplyToken
from app.rlaif.reply_keys import Kept, Remembered

_ADD = text("""
INSERT INTO verdict_cache (project_id, key, reply, prompt_tokens, completion_tokens, cost_usd)
SELECT :project, key, reply, prompt_tokens, completion_tokens, cost_usd
FROM json_to_recordset(CAST(:replies AS json))
    AS row (key bytea, reply jsonb, prompt_tokens int, completion_tokens int, cost_usd numeric)
ON CONFLICT (project_id, key) DO UPDATE SET reply = excluded.reply, prompt_tokens = excluded.prompt_tokens,
    completion_tokens = excluded.completion_tokens, cost_usd = excluded.cost_usd, created_at = now()
""")


def recall(
    session: Session, project_id: str, keys: Collection[bytes], *, max_age_days: float | None
) -> dict[bytes, Remembered]:
    """Those of the replies that are stored, and no older than asked for."""
    wanted = cast(func.string_to_array(",".join(map(_hex, keys)), ","), ARRAY(LargeBinary))  # one parameter for all
    query = select(
        CachedReply.key,
        CachedReply.reply,
        CachedReply.prompt_tokens,
        CachedReply.completion_tokens,
        CachedReply.cost_usd,
    ).where(CachedReply.project_id == project_id, CachedReply.key == any_(wanted))
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
    rows = [_row(key, each) for key, each in sorted(latest.items())]  # two writers wait for each other in one order
    session.execute(_ADD, {"project": project_id, "replies": json.dumps(rows, separators=(",", ":"))})


def forget(session: Session, project_id: str, *, older_than_days: float | None) -> int:
    """Delete a project's replies, or those older than so many days; says how many."""
    gone = delete(CachedReply).where(CachedReply.project_id == project_id)
    if older_than_days is not None:
        gone = gone.where(CachedReply.created_at <= func.now() - _days(older_than_days))
    return int(session.execute(gone.execution_options(synchronize_session=False)).rowcount)  # type: ignore[attr-defined]


def _days(count: float) -> Any:
    return func.make_interval(0, 0, 0, 0, 0, 0, count * 86_400)


def _row(key: bytes, kept: Remembered) -> dict[str, Any]:
    return {
        "key": _hex(key),
        "reply": _document(kept.reply),
        "prompt_tokens": kept.prompt_tokens,
        "completion_tokens": kept.completion_tokens,
        "cost_usd": str(kept.cost_usd),
    }


def _hex(key: bytes) -> str:
    """As PostgreSQL reads and writes a bytea."""
    return f"\\x{key.hex()}"


def _document(reply: Reply) -> dict[str, Any]:
    tokens = [
        [storable(token.text), {storable(name): at for name, at in token.alternatives.items()}]
        for token in reply.tokens
    ]
    return {"text": storable(reply.text), "finish": reply.finish, "tokens": tokens}


def _reply(stored: dict[str, Any]) -> Reply:
    return Reply(
        stored["text"],
        finish=Finish(stored["finish"]),
        tokens=tuple(ReplyToken(name, alternatives) for name, alternatives in stored["tokens"]),
    )
