"""What the rescuer removes once a day has passed, and what it must not."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import IdempotencyKey, Project
from app.repositories import idempotency
from workers.scratch import sweep

LONG_AGO = time.time() - 2 * 24 * 3600


def old(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "file").write_text("x")
    os.utime(path, (LONG_AGO, LONG_AGO))
    return path


class TestSweep:
    def test_removes_what_belongs_to_nothing(self, tmp_path: Path) -> None:
        gone = [
            old(tmp_path / "models" / "refused"),
            old(tmp_path / "scratch" / "closed"),
            old(tmp_path / "models" / ".publishing-1"),
        ]
        sweep(tmp_path, is_open=lambda _: False, is_model=lambda _: False)
        assert [path.exists() for path in gone] == [False, False, False]

    def test_keeps_what_is_in_use_and_what_is_new(self, tmp_path: Path) -> None:
        kept = [old(tmp_path / "models" / "used"), old(tmp_path / "scratch" / "open")]
        (tmp_path / "models" / "just-published").mkdir()
        sweep(tmp_path, is_open=lambda name: name == "open", is_model=lambda key: key == "models/used")
        assert all(path.exists() for path in [*kept, tmp_path / "models" / "just-published"])


class TestForget:
    def test_only_keys_older_than_their_time_are_forgotten(self, session: Session) -> None:
        project = Project(id=new_id(Kind.PROJECT), name="sweep")
        session.add(project)
        session.flush()
        for key, age in (("old", timedelta(days=8)), ("young", timedelta(days=6))):
            row = IdempotencyKey(project_id=project.id, key=key, operation="x", request_digest="0" * 64)
            row.status, row.headers, row.body = 201, {}, "{}"
            row.created_at = session.scalars(select(func.now() - age)).one()
            session.add(row)
        session.flush()
        idempotency.forget(session, older_than=timedelta(days=7))
        assert list(session.scalars(select(IdempotencyKey.key))) == ["young"]
