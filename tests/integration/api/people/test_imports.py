"""Labels from elsewhere: all or none, every bad line named, and twice is once."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from tests.integration.api.people.queue import JSONL, Queue, at_once, judged_run
from tests.integration.api.runs.service import Client

EVEN = {"trainer": (0.5, 0.5)}


def labelled(question: str, *answers: tuple[str, str], candidates: tuple[str, str] = ("x", "y")) -> dict[str, Any]:
    """A prompt with two candidates and what people (name, answer) said of them."""
    annotations = [{"first": 0, "second": 1, "annotator": name, "answer": answer} for name, answer in answers]
    messages = [{"role": "user", "content": question}]
    return {"messages": messages, "candidates": list(candidates), "annotations": annotations}


def refused(queue: Queue, *rows: Any) -> list[dict[str, Any]]:
    answer = queue.upload(*rows)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_annotations"), answer.text
    errors: list[dict[str, Any]] = answer.json()["errors"]
    return errors


class TestImport:
    def test_labels_settle_what_they_suffice_for(self, queue: Queue) -> None:
        """By two annotators an item."""
        counts = queue.uploaded(
            labelled("agreed", ("ada", "A"), ("bo", "A")),
            labelled("split", ("ada", "A"), ("bo", "TIE")),
            labelled("lacking", ("ada", "B")),
            labelled("more", ("ada", "B"), ("bo", "A"), ("cy", "B")),
        )
        assert (counts["items_created"], counts["annotations_created"], counts["annotations_known"]) == (4, 8, 0)
        found = {item["content"]["messages"][0]["content"]: (item["state"], item["answer"]) for item in queue.items()}
        assert found == {
            "agreed": ("done", "A"),
            "split": ("adjudicate", None),
            "lacking": ("open", None),
            "more": ("done", "B"),
        }
        assert all(each["imported"] and each["order"] is None for each in queue.annotations())

    def test_what_lacks_answers_is_asked_on(self, queue: Queue) -> None:
        queue.uploaded({**labelled("salt?", ("ada", "B"), candidates=("rock", "mineral")), "reference": "NaCl"})
        assert queue.claim("ada") is None
        claim = queue.claimed("bo")
        assert {claim["question"]["a"], claim["question"]["b"]} == {"rock", "mineral"}
        assert claim["question"]["reference"] == "NaCl"
        assert queue.claim("cy") is None

    def test_the_same_lines_again_change_nothing(self, queue: Queue) -> None:
        rows = [labelled("one", ("ada", "A")), labelled("two", ("ada", "B"), ("bo", "B"))]
        queue.uploaded(*rows)
        before = (queue.items(), queue.annotations())
        again = queue.uploaded(*rows, rows[0])
        assert (again["items_created"], again["annotations_created"], again["annotations_known"]) == (0, 0, 4)
        assert (queue.items(), queue.annotations()) == before
        assert queue.claim("bo") is not None
        assert queue.claim("cy") is None

    def test_the_same_lines_at_once_come_in_once(self, queue: Queue) -> None:
        rows = [labelled(f"q{i}", ("ada", "A"), ("bo", "B")) for i in range(50)]
        counts = at_once(*[lambda: queue.uploaded(*rows)] * 4)
        assert sorted(each["items_created"] for each in counts) == [0, 0, 0, 50]
        assert sorted(each["annotations_created"] for each in counts) == [0, 0, 0, 100]

    def test_about_a_runs_comparisons(self, queue: Queue) -> None:
        run_id, (routed, fresh) = judged_run(queue.client, [EVEN] * 2)
        queue.route(run_id, limit=2)
        other = Queue.create(queue.client, annotators_per_item=2)
        rows: list[dict[str, Any]] = [
            {"comparison_id": fresh, "annotator": "ada", "answer": "A", "note": "better", "seconds": 4.5},
            {"comparison_id": fresh, "annotator": "bo", "answer": "A"},
            {"comparison_id": routed, "annotator": "ada", "answer": "skip", "skip_reason": "harmful"},
        ]
        for each in (queue, other):
            each.uploaded(*rows)
            items = {item["comparison_id"]: item for item in each.items()}
            assert (items[fresh]["state"], items[fresh]["answer"]) == ("done", "A")
            assert items[routed]["state"] == "open"
            assert each.claim("bo") is not None
            assert each.claim("cy") is None, "one of two seats went to the import"

    def test_an_adjudication_has_the_last_word(self, queue: Queue) -> None:
        row = labelled("q", ("ada", "A"), ("bo", "A"))
        last = {"first": 1, "second": 0, "annotator": "cy", "answer": "A", "adjudication": True}
        queue.uploaded({**row, "annotations": [*row["annotations"], last]})
        assert [(item["state"], item["answer"]) for item in queue.items()] == [("adjudicated", "B")]

    def test_a_live_claim_is_not_taken_away(self, queue: Queue) -> None:
        run_id, (comparison,) = judged_run(queue.client, [EVEN])
        queue.route(run_id)
        claim = queue.claimed("ada")
        labels = [{"comparison_id": comparison, "annotator": name, "answer": "A"} for name in ("bo", "cy")]
        queue.uploaded(*labels)
        assert queue.items()[0]["state"] == "open"
        queue.answer(claim, "TIE")
        assert (queue.items()[0]["state"], queue.items()[0]["answer"]) == ("done", "A")

    def test_gzip_and_a_replayed_key(self, queue: Queue) -> None:
        content = gzip.compress(b'{"prompt": "q", "candidates": ["x", "y"], "annotations": '
                                b'[{"first": 0, "second": 1, "annotator": "ada", "answer": "A"}]}')  # fmt: skip
        headers = {**JSONL, "Content-Encoding": "gzip", "Idempotency-Key": "k"}
        first, again = (queue.upload(content, headers=headers) for _ in range(2))
        assert (first.status_code, again.json()) == (201, first.json())

    def test_pairs_share_a_prompt(self, queue: Queue) -> None:
        row = labelled("q", ("ada", "A"))
        third = {"first": 2, "second": 0, "annotator": "ada", "answer": "A"}
        counts = queue.uploaded({**row, "candidates": ["x", "y", "z"], "annotations": [*row["annotations"], third]})
        assert counts["items_created"] == 2
        assert {tuple(item["content"]["candidates"]) for item in queue.items()} == {("x", "y"), ("x", "z")}
        assert [each["answer"] for each in queue.annotations()] == ["A", "B"]


class TestRefused:
    def test_nothing_of_a_refused_upload_stays(self, queue: Queue) -> None:
        errors = refused(queue, labelled("good", ("ada", "A")), b"{", {**labelled("bad", ("ada", "C"))})
        assert [error["field"] for error in errors] == ["line 2", "line 3: annotations[0].answer"]
        assert (queue.items(), queue.annotations()) == ([], [])

    def test_only_the_first_hundred_are_named(self, queue: Queue) -> None:
        assert len(refused(queue, *[b"x"] * 150)) == 100

    @pytest.mark.parametrize(
        ("row", "field"),
        [
            (labelled("q"), "annotations"),
            (labelled("q", ("ada", "INVALID")), "annotations[0].answer"),
            (labelled("q", ("ada", "A"), ("ada", "A")), None),
            (labelled("q", (" ", "A")), "annotations[0].annotator"),
            ({**labelled("q", ("ada", "A")), "candidates": ["x"]}, None),
            ({**labelled("q", ("ada", "A")), "authors": ["one"]}, None),
            ({"comparison_id": "comparison_x", "annotator": "ada", "answer": "A"}, "comparison_id"),
            ({"comparison_id": "comparison_x", "annotator": "ada", "answer": "skip"}, None),
            ({"comparison_id": "comparison_x", "annotator": "ada", "answer": "A", "judge": "j"}, "judge"),
        ],
    )
    def test_a_bad_line(self, queue: Queue, row: dict[str, Any], field: str | None) -> None:
        (error,) = refused(queue, row)
        assert error["field"] == ("line 1" if field is None else f"line 1: {field}")

    def test_another_projects_comparison(self, queue: Queue) -> None:
        _, (theirs,) = judged_run(queue.client.service.client(), [EVEN])
        (error,) = refused(queue, {"comparison_id": theirs, "annotator": "ada", "answer": "A"})
        assert (error["field"], "does not exist" in error["message"]) == ("line 1: comparison_id", True)

    def test_contradictions_within_and_with_what_is_stored(self, queue: Queue) -> None:
        queue.uploaded(labelled("stored", ("ada", "A")))
        errors = refused(
            queue,
            labelled("new", ("ada", "A")),
            labelled("new", ("ada", "B")),
            labelled("stored", ("ada", "TIE")),
        )
        assert [error["field"] for error in errors] == ["line 2: answer", "line 3: answer"]
        assert "line 1" in errors[0]["message"]
        assert "annotation_" in errors[1]["message"]

    def test_two_last_words(self, queue: Queue) -> None:
        rows = [labelled("q", ("ada", "A")), labelled("q", ("bo", "B"))]
        for row in rows:
            row["annotations"][0]["adjudication"] = True
        assert [error["field"] for error in refused(queue, *rows)] == ["line 2: adjudication"]
        queue.uploaded(rows[0])
        assert [error["field"] for error in refused(queue, rows[1])] == ["line 1: adjudication"]

    @pytest.mark.parametrize("content", [b"", b"\n \n"])
    def test_no_labels(self, queue: Queue, content: bytes) -> None:
        answer = queue.upload(content)
        assert (answer.status_code, answer.json()["code"]) == (422, "no_annotations")

    def test_limits(self, client: Client, queue: Queue) -> None:
        bomb = gzip.compress(b" " * (client.service.api.settings.max_upload_bytes + 2**20))
        answer = queue.upload(bomb, headers={**JSONL, "Content-Encoding": "gzip"})
        assert (answer.status_code, answer.json()["code"]) == (413, "upload_too_large")
        damaged = queue.upload(b"plain", headers={**JSONL, "Content-Encoding": "gzip"})
        assert (damaged.status_code, damaged.json()["code"]) == (422, "upload_damaged")
        long = b'{"prompt": "' + b"x" * client.service.api.settings.max_line_bytes + b'"}'
        assert "longer than" in refused(queue, long)[0]["message"]
        assert queue.upload(b"x", headers={"Content-Type": "text/csv"}).status_code == 415
