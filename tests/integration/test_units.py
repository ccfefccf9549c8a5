"""Rows that go to the database as one document come out of it as they went in."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import Connection, select, text
from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import Project, Prompt, PromptSet, Split
from app.repositories.units import add_missing

MESSAGES = [{"role": "user", "content": 'He said: "tides\\rise"\n\u2028 \U0001f30a %s :name {}'}]


@pytest.fixture
def session(connection: Connection) -> Session:
    return Session(connection)


@pytest.fixture
def prompt_set(session: Session) -> PromptSet:
    project = Project(id=new_id(Kind.PROJECT), name="units")
    session.add(project)
    session.flush()
    made = PromptSet(
        id=new_id(Kind.PROMPT_SET),
        project_id=project.id,
        name="tides",
        train_count=1,
        held_out_count=0,
        cohorts={},
        digest="0" * 64,
    )
    session.add(made)
    session.flush()
    return made


def row(prompt_set: PromptSet, position: int, **changed: Any) -> dict[str, Any]:
    return {
        "id": new_id(Kind.PROMPT),
        "project_id": prompt_set.project_id,
        "prompt_set_id": prompt_set.id,
        "position": position,
        "external_id": f"p{position}",
        "messages": MESSAGES,
        "tools": None,
        "cohort": "helpfulness",
        "split": Split.TRAIN,
        "reference": None,
        "criteria": [],
        "candidates": ["a", "b\t"],
        "preferences": [{"first": 0, "second": 1, "probability": 0.1 + 0.2}],
    } | changed


class TestAddMissing:
    def test_values_are_kept_to_the_letter(self, session: Session, prompt_set: PromptSet) -> None:
        given = row(prompt_set, 0, reference="\u00e9 'quoted' \\ ;--")
        assert add_missing(session, Prompt, [given]) == [given["id"]]
        stored = session.get_one(Prompt, given["id"])
        assert {name: getattr(stored, name) for name in given} == given

    def test_null_is_null_in_sql_and_not_in_json(self, session: Session, prompt_set: PromptSet) -> None:
        add_missing(session, Prompt, [row(prompt_set, 0)])
        count = session.scalar(text("SELECT count(*) FROM prompts WHERE tools IS NULL AND reference IS NULL"))
        assert count == 1

    def test_text_that_no_database_holds_is_mended(self, session: Session, prompt_set: PromptSet) -> None:
        given = row(prompt_set, 0, reference="nul \x00 and a lone surrogate \ud800")
        add_missing(session, Prompt, [given])
        assert session.get_one(Prompt, given["id"]).reference == "nul \ufffd and a lone surrogate \ufffd\ufffd\ufffd"

    def test_only_what_was_missing_is_added_and_named(self, session: Session, prompt_set: PromptSet) -> None:
        first, second = row(prompt_set, 0), row(prompt_set, 1)
        assert add_missing(session, Prompt, [first]) == [first["id"]]
        again = first | {"id": new_id(Kind.PROMPT), "cohort": "other"}
        assert add_missing(session, Prompt, [again, second, second]) == [second["id"]]
        stored = session.execute(select(Prompt.id, Prompt.cohort).order_by(Prompt.position)).all()
        assert stored == [(first["id"], "helpfulness"), (second["id"], "helpfulness")]

    def test_columns_without_a_value_get_their_default(self, session: Session) -> None:
        id_ = new_id(Kind.PROJECT)
        add_missing(session, Project, [{"id": id_, "name": "by default"}])
        assert session.get_one(Project, id_).created_at is not None

    def test_a_number_that_json_has_not_is_refused(self, session: Session, prompt_set: PromptSet) -> None:
        with pytest.raises(ValueError, match="JSON"):
            add_missing(session, Prompt, [row(prompt_set, 0, preferences=[{"probability": float("nan")}])])

    def test_nothing_is_nothing(self, session: Session) -> None:
        assert add_missing(session, Prompt, []) == []
