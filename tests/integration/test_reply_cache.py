"""Replies come out of the cache as they went in."""

from __future__ import annotations

from decimal import Decimal

import pytest
from sqlalchemy import Connection
from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import Project
from app.repositories import reply_cache
from app.rlaif.replies import Finish, Reply, ReplyToken
from app.rlaif.reply_keys import Kept, Remembered

KEYS = [bytes([number]) * 32 for number in (0, 92, 255)]
SOFT = Remembered(Reply("A", tokens=(ReplyToken("A", {"A": -0.1, '"B"\\,': -2.5}),)), 600, 1, Decimal("0.000090600"))
PLAIN = Remembered(Reply("I am sorry, \u00e9 \u2028", Finish.LENGTH), 7, 8, Decimal(0))


@pytest.fixture
def session(connection: Connection) -> Session:
    return Session(connection)


@pytest.fixture
def project(session: Session) -> str:
    row = Project(id=new_id(Kind.PROJECT), name="cache")
    session.add(row)
    session.flush()
    return row.id


class TestReplies:
    def test_what_is_remembered_is_recalled_to_the_letter(self, session: Session, project: str) -> None:
        reply_cache.remember(session, project, [Kept(KEYS[0], SOFT), Kept(KEYS[2], PLAIN)])
        found = reply_cache.recall(session, project, KEYS, max_age_days=None)
        assert found == {KEYS[0]: SOFT, KEYS[2]: PLAIN}

    def test_a_newer_reply_takes_the_place_of_an_older_one(self, session: Session, project: str) -> None:
        reply_cache.remember(session, project, [Kept(KEYS[1], SOFT)])
        reply_cache.remember(session, project, [Kept(KEYS[1], SOFT), Kept(KEYS[1], PLAIN)])
        assert reply_cache.recall(session, project, [KEYS[1]], max_age_days=None) == {KEYS[1]: PLAIN}

    def test_no_keys_recall_nothing(self, session: Session, project: str) -> None:
        reply_cache.remember(session, project, [])
        assert reply_cache.recall(session, project, [], max_age_days=None) == {}
