"""What a queue has settled, as a prompt set, and how far its people agree."""

from __future__ import annotations

import json
from typing import Any

import pytest
from sqlalchemy import text

from app.rlaif.prompt import Prompt
from tests.integration.api.people.queue import Queue, as_shown, judged_run
from tests.integration.api.people.test_imports import labelled
from tests.integration.api.runs.service import Client

EVEN = {"trainer": (0.5, 0.5)}


def snapshot(queue: Queue, name: str = "labels") -> dict[str, Any]:
    made: dict[str, Any] = queue.client.post(f"{queue.path}/snapshots", {"name": name})
    return made


def prompts(client: Client, prompt_set: dict[str, Any]) -> list[dict[str, Any]]:
    path = f"/v1/prompt-sets/{prompt_set['id']}/prompts"
    exported = client.http.get(path, params={"format": "jsonl"})
    return [json.loads(line) for line in exported.text.splitlines()]


class TestSnapshot:
    def test_holds_what_is_settled_and_everybodys_answers(self, queue: Queue) -> None:
        """One item that two agree on, one that a third settles, one that nobody has answered."""
        run_id, comparisons = judged_run(queue.client, [EVEN] * 3)
        queue.route(run_id)
        said: dict[str, list[dict[str, Any]]] = {}
        for name, answers in (("ada", "AA"), ("bo", "AB")):
            for answer in answers:
                claim = queue.claimed(name)
                given = queue.answer(claim, as_shown(queue.order(claim), answer))
                said.setdefault(given["comparison_id"], []).append(given)
        last = queue.say("cy", "TIE", adjudicate=True)
        said[last["comparison_id"]].append(last)
        made = snapshot(queue)
        assert (made["train_count"], made["held_out_count"]) == (2, 0)
        texts = {f"What is {index}?": said[id_] for index, id_ in enumerate(comparisons) if id_ in said}
        for row in prompts(queue.client, made):
            question = row["messages"][0]["content"]
            number = question.removeprefix("What is ").removesuffix("?")
            assert row["candidates"] == [f"{number}: 0", f"{number}: 1"]
            assert len(set(row["authors"])) == 1
            assert row["annotations"] == [
                {"first": 0, "second": 1, **{key: each[key] for key in ("annotator", "answer", "adjudication")}}
                for each in texts.pop(question)
            ]
        assert texts == {}

    def test_the_authors_are_the_families_of_the_models(self, queue: Queue) -> None:
        run_id, (comparison,) = judged_run(queue.client, [EVEN])
        queue.uploaded(*[{"comparison_id": comparison, "annotator": name, "answer": "A"} for name in ("ada", "bo")])
        (row,) = prompts(queue.client, snapshot(queue))
        (model,) = queue.client.rows("/v1/models")
        assert row["authors"] == [model["family"]] * 2
        assert run_id

    def test_imported_labels_come_back_as_they_came(self, queue: Queue) -> None:
        row = {
            **labelled("q", ("ada", "A"), ("bo", "A")),
            "reference": "r",
            "cohort": "safety",
            "split": "held_out",
            "criteria": [{"name": "c", "description": "d"}],
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "authors": ["one", None],
        }
        queue.uploaded(row)
        made = snapshot(queue)
        assert (made["held_out_count"], made["cohorts"]) == (1, {"safety": 1})
        (back,) = prompts(queue.client, made)
        stated, returned = Prompt.model_validate(row), Prompt.model_validate(back)
        assert returned.model_dump(exclude={"id"}) == stated.model_dump(exclude={"id"})
        other = Queue.create(queue.client, annotators_per_item=2)
        assert other.uploaded(back)["annotations_created"] == 2

    def test_trajectories_are_candidates_like_any_other(self, queue: Queue) -> None:
        call = {"id": "c1", "type": "function", "function": {"name": "find", "arguments": '{"city": "Rome"}'}}
        turns = [
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "content": "found", "tool_call_id": "c1"},
            {"role": "assistant", "content": "It is there."},
        ]
        queue.uploaded({**labelled("q", ("ada", "A")), "candidates": [turns, "No idea."]})
        claim = queue.claimed("bo")
        assert sorted((claim["question"]["a"], claim["question"]["b"]), key=str) == ["No idea.", turns]
        queue.answer(claim, as_shown(queue.order(claim), "A"))
        (back,) = prompts(queue.client, snapshot(queue))
        assert (
            Prompt.model_validate(back).candidates
            == Prompt.model_validate({**back, "candidates": [turns, "No idea."]}).candidates
        )

    def test_pairs_of_one_prompt_are_one_prompt(self, queue: Queue) -> None:
        row = labelled("q", ("ada", "A"), ("bo", "A"))
        more = [{"first": 1, "second": 2, "annotator": name, "answer": "TIE"} for name in ("ada", "bo")]
        queue.uploaded({**row, "candidates": ["x", "y", "z"], "annotations": [*row["annotations"], *more]})
        (back,) = prompts(queue.client, snapshot(queue))
        assert sorted(back["candidates"]) == ["x", "y", "z"]
        assert len(back["annotations"]) == 4

    def test_does_not_change_when_people_go_on(self, queue: Queue) -> None:
        queue.uploaded(labelled("one", ("ada", "A"), ("bo", "A")))
        made = snapshot(queue)
        queue.uploaded(labelled("two", ("ada", "A"), ("bo", "A")))
        assert len(prompts(queue.client, made)) == 1
        assert len(prompts(queue.client, snapshot(queue, "later"))) == 2

    def test_remembers_its_queue(self, queue: Queue) -> None:
        queue.uploaded(labelled("one", ("ada", "A"), ("bo", "A")))
        made = snapshot(queue)
        query = text("SELECT annotation_queue_id FROM prompt_sets WHERE id = :id")
        with queue.client.service.sessions() as session:
            assert session.scalar(query, {"id": made["id"]}) == queue.id

    def test_nothing_settled(self, queue: Queue) -> None:
        queue.uploaded(labelled("one", ("ada", "A")))
        problem = queue.client.post(f"{queue.path}/snapshots", {"name": "labels"}, expect=409)
        assert problem["code"] == "nothing_settled"

    def test_names_are_unique(self, queue: Queue) -> None:
        queue.uploaded(labelled("one", ("ada", "A"), ("bo", "A")))
        snapshot(queue)
        problem = queue.client.post(f"{queue.path}/snapshots", {"name": "labels"}, expect=409)
        assert problem["code"] == "name_taken"


class TestAgreement:
    def test_is_measured_on_what_annotators_said(self, queue: Queue) -> None:
        """The adjudicator's answer is left out."""
        answers = [("A", "A"), ("B", "B"), ("A", "B"), ("TIE", "TIE")]
        queue.uploaded(*[labelled(f"q{i}", ("ada", one), ("bo", two)) for i, (one, two) in enumerate(answers)])
        queue.say("cy", "A", adjudicate=True)
        found = queue.client.get(f"{queue.path}/agreement")
        assert found["items"] == 4
        assert (found["raw"]["value"], found["raw"]["n"]) == (0.75, 4)
        assert found["raw"]["low"] <= 0.75 <= found["raw"]["high"]
        assert 0 < found["alpha"]["value"] < 1
        assert [one["annotator"] for one in found["annotators"]] == ["ada", "bo"]
        (pair,) = found["pairs"]
        assert pair["kappa"]["value"] == pytest.approx((0.75 - 5 / 16) / (1 - 5 / 16))

    def test_of_nothing_is_missing(self, queue: Queue) -> None:
        empty: dict[str, Any] = {"items": 0, "alpha": None, "raw": None, "annotators": [], "pairs": []}
        assert queue.client.get(f"{queue.path}/agreement") == empty
