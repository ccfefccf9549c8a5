"""Claims: who gets which item, until when, and what becomes of the answer."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from sqlalchemy import text, update

from app.db.models import Completion
from app.rlaif.annotation import presentation_order
from tests.integration.api.people.queue import Queue, as_shown, at_once, judged_run
from tests.integration.api.runs.service import Client

EVEN = {"trainer": (0.5, 0.5)}


def fill(queue: Queue, count: int) -> list[str]:
    """So many items; the comparisons that they are."""
    run_id, comparisons = judged_run(queue.client, [EVEN] * count)
    assert queue.route(run_id)["routed"] == count
    return comparisons


class TestClaim:
    def test_shows_the_question_and_never_the_judge(self, queue: Queue) -> None:
        fill(queue, 1)
        claim = queue.claimed("ada")
        question = claim["question"]
        assert question["messages"] == [{"role": "user", "content": "What is 0?"}]
        assert {question["a"], question["b"]} == {"0: 0", "0: 1"}
        assert claim["rubric"]["criteria"][0]["name"] == "short"
        assert "secret opinion" not in json.dumps(claim)
        assert not {"reason", "priority", "probability"} & (claim.keys() | question.keys())

    def test_a_trajectory_is_shown_whole(self, queue: Queue) -> None:
        fill(queue, 1)
        turns = [{"role": "assistant", "content": "hello"}, {"role": "user", "content": "and?"}]
        with queue.client.service.sessions.begin() as session:
            session.execute(update(Completion).where(Completion.position == 0).values(turns=turns))
        question = queue.claimed("ada")["question"]
        assert sorted((question["a"], question["b"]), key=str) == ["0: 1", turns]

    def test_nothing_left_is_an_empty_answer(self, queue: Queue) -> None:
        fill(queue, 1)
        queue.answer(queue.claimed("ada"), "A")
        assert queue.claim("ada") is None
        assert queue.claim("bo") is not None
        assert queue.claim("cy") is None

    def test_who_claims_again_holds_the_same_one_for_longer(self, client: Client) -> None:
        queue = Queue.create(client, claim_ttl_s=900)
        fill(queue, 2)
        first = queue.claimed("ada")
        again = queue.claimed("ada")
        assert again["expires_at"] > first["expires_at"]
        assert {**again, "expires_at": first["expires_at"]} == first
        queue.answer(first, "A")
        assert queue.claimed("ada")["item_id"] != first["item_id"]

    def test_one_that_an_import_has_answered_is_not_held_on_to(self, queue: Queue) -> None:
        comparisons = fill(queue, 2)
        first = queue.claimed("ada")
        for comparison in comparisons:
            queue.uploaded({"comparison_id": comparison, "annotator": "ada", "answer": "B"})
        assert queue.claim("ada") is None
        assert queue.answer(first, "A", expect=409)["code"] == "claim_answered"

    def test_a_word_among_others_and_the_last_word_are_two_claims(self, client: Client) -> None:
        queue = Queue.create(client, annotators_per_item=2)
        fill(queue, 2)
        for name in ("bo", "di"):
            claim = queue.claimed(name)
            queue.answer(claim, as_shown(queue.order(claim), "A" if name == "bo" else "B"))
        one, last = queue.claimed("cy"), queue.claimed("cy", adjudicate=True)
        assert one["item_id"] != last["item_id"]
        assert (queue.claimed("cy")["id"], queue.claimed("cy", adjudicate=True)["id"]) == (one["id"], last["id"])

    def test_the_order_is_the_coins_and_comes_back_to_the_comparisons_own(self, queue: Queue) -> None:
        comparisons = fill(queue, 12)
        orders = Counter[str]()
        for _ in range(12):
            claim = queue.claimed("ada")
            order = presentation_order(claim["item_id"], "ada")
            shown = [claim["question"]["a"][-1], claim["question"]["b"][-1]]
            assert shown == (["0", "1"] if order == "AB" else ["1", "0"])
            given = queue.answer(claim, "A")
            assert (given["answer"], given["order"]) == (as_shown(order, "A"), order)
            assert given["comparison_id"] in comparisons
            orders[order] += 1
        assert set(orders) == {"AB", "BA"}

    def test_the_most_urgent_comes_first(self, client: Client) -> None:
        queue = Queue.create(client)
        run_id, comparisons = judged_run(client, [{"trainer": (p, p)} for p in (0.9, 0.55, 0.2)])
        queue.route(run_id, by=[{"reason": "low_margin"}])
        assert [queue.say("ada", "A")["comparison_id"] for _ in range(3)] == [comparisons[i] for i in (1, 2, 0)]


class TestAnswer:
    def test_a_claim_that_has_expired_stores_nothing(self, queue: Queue) -> None:
        fill(queue, 1)
        claim = queue.claimed("ada")
        queue.expire(claim)
        problem = queue.answer(claim, "A", expect=409)
        assert (problem["code"], "expired" in problem["detail"]) == ("claim_expired", True)
        assert queue.annotations() == []

    def test_an_expired_claim_is_somebody_elses(self, client: Client) -> None:
        queue = Queue.create(client)
        fill(queue, 1)
        claim = queue.claimed("ada")
        queue.expire(claim)
        later = queue.claimed("bo")
        assert (later["id"], later["token"] == claim["token"]) == (claim["id"], False)
        assert queue.answer(claim, "A", expect=409)["code"] == "claim_expired"
        assert queue.release(claim, expect=409).json()["code"] == "claim_expired"
        assert queue.answer(later, "A")["annotator"] == "bo"

    def test_ones_own_expired_claim_can_be_taken_again(self, queue: Queue) -> None:
        fill(queue, 1)
        first = queue.claimed("ada")
        queue.expire(first)
        again = queue.claimed("ada")
        assert again["id"] == first["id"]
        assert queue.answer(first, "A", expect=409)["code"] == "claim_expired"
        queue.answer(again, "A")

    def test_the_same_answer_again_is_the_same_annotation(self, queue: Queue) -> None:
        fill(queue, 1)
        claim = queue.claimed("ada")
        first = queue.answer(claim, "A", note="short", seconds=3.5)
        assert queue.answer(claim, "A") == first
        assert queue.answer(claim, "B", expect=409)["code"] == "claim_answered"
        assert queue.release(claim, expect=409).json()["code"] == "claim_answered"
        assert queue.annotations() == [first]

    def test_a_released_item_is_free_at_once(self, client: Client) -> None:
        queue = Queue.create(client)
        fill(queue, 1)
        claim = queue.claimed("ada")
        assert queue.claim("bo") is None
        queue.release(claim)
        queue.release(claim)
        assert queue.answer(claim, "A", expect=409)["code"] == "claim_expired"
        assert queue.claim("bo") is not None

    @pytest.mark.parametrize(
        "body",
        [{"answer": "skip"}, {"answer": "A", "skip_reason": "other"}, {"answer": "C"}, {"answer": "A", "seconds": -1}],
    )
    def test_refused(self, queue: Queue, body: dict[str, Any]) -> None:
        fill(queue, 1)
        queue.answer(queue.claimed("ada"), body.pop("answer"), expect=422, **body)

    def test_an_import_in_the_meantime_wins(self, queue: Queue) -> None:
        (comparison,) = fill(queue, 1)
        claim = queue.claimed("ada")
        queue.uploaded({"comparison_id": comparison, "annotator": "ada", "answer": "B"})
        assert queue.answer(claim, "A", expect=409)["code"] == "claim_answered"


class TestSettling:
    def test_when_all_agree(self, queue: Queue) -> None:
        fill(queue, 1)
        queue.say("ada", "B")
        assert [(item["state"], item["answer"]) for item in queue.items()] == [("open", None)]
        queue.say("bo", "B")
        assert [(item["state"], item["answer"]) for item in queue.items()] == [("done", "B")]

    def test_disagreement_waits_for_an_adjudicator(self, queue: Queue) -> None:
        fill(queue, 1)
        queue.say("ada", "B")
        queue.say("bo", "A")
        assert queue.items()[0]["state"] == "adjudicate"
        assert queue.claim("cy") is None
        assert queue.claim("ada", adjudicate=True) is None, "who has answered does not judge the others"
        claim = queue.claimed("cy", adjudicate=True)
        assert queue.answer(claim, "skip", skip_reason="other", expect=422)["code"] == "adjudicator_skips"
        queue.answer(claim, as_shown(queue.order(claim), "TIE"))
        assert [(item["state"], item["answer"]) for item in queue.items()] == [("adjudicated", "TIE")]
        said = [(each["annotator"], each["answer"], each["adjudication"]) for each in queue.annotations()]
        assert said == [("ada", "B", False), ("bo", "A", False), ("cy", "TIE", True)]

    def test_a_skip_is_no_answer(self, queue: Queue) -> None:
        fill(queue, 2)
        for name, answer in (("ada", "skip"), ("bo", "A")):
            for _ in range(2):
                reason: dict[str, Any] = {"skip_reason": "unclear"} if answer == "skip" else {}
                claim = queue.claimed(name)
                queue.answer(claim, answer if answer == "skip" else as_shown(queue.order(claim), answer), **reason)
        assert {(item["state"], item["answer"]) for item in queue.items()} == {("done", "A")}

    def test_nobody_able_to_answer_needs_an_adjudicator(self, queue: Queue) -> None:
        fill(queue, 1)
        for name in ("ada", "bo"):
            queue.answer(queue.claimed(name), "skip", skip_reason="unqualified")
        assert queue.items()[0]["state"] == "adjudicate"

    def test_unanimity_is_more_than_a_majority(self, client: Client) -> None:
        queue = Queue.create(client, annotators_per_item=3, settle_rule="unanimous")
        fill(queue, 1)
        for name, answer in (("ada", "A"), ("bo", "A"), ("cy", "B")):
            queue.say(name, answer)
        assert queue.items()[0]["state"] == "adjudicate"


class TestRaces:
    def test_never_more_claims_than_annotators(self, client: Client) -> None:
        """Eight people want three items that two people each shall answer: six get one, and none of them the same."""
        queue = Queue.create(client, annotators_per_item=2)
        fill(queue, 3)
        claims = at_once(*[lambda name=f"p{i}": queue.claim(name) for i in range(8)])
        got = [claim for claim in claims if claim is not None]
        assert Counter(claim["item_id"] for claim in got) == dict.fromkeys((i["id"] for i in queue.items()), 2)
        assert len({claim["id"] for claim in got}) == len({claim["token"] for claim in got}) == 6

    @pytest.mark.parametrize("windows", [2, 6])
    def test_one_person_in_many_windows_holds_one_item(self, client: Client, windows: int) -> None:
        queue = Queue.create(client, annotators_per_item=4)
        fill(queue, 3)
        claims = at_once(*[lambda: queue.claimed("ada")] * windows)
        assert len({(claim["id"], claim["token"], claim["item_id"]) for claim in claims}) == 1
        with client.service.sessions() as session:
            held = text("SELECT count(*) FROM annotation_seats WHERE annotator = 'ada' AND queue_id = :id")
            assert session.scalar(held, {"id": queue.id}) == 1
        queue.answer(claims[-1], "A")

    def test_an_answer_and_its_repetition(self, queue: Queue) -> None:
        fill(queue, 1)
        claim = queue.claimed("ada")
        answers = at_once(*[lambda: queue.answer(claim, "A")] * 6)
        assert len({answer["id"] for answer in answers}) == 1 == len(queue.annotations())

    def test_the_last_two_answers_settle_once(self, client: Client) -> None:
        queue = Queue.create(client, annotators_per_item=6)
        fill(queue, 1)
        claims = [queue.claimed(f"p{i}") for i in range(6)]
        presses = [(claim, as_shown(queue.order(claim), "AB"[i % 2])) for i, claim in enumerate(claims)]
        at_once(*[lambda one=one: queue.answer(*one) for one in presses])
        assert queue.items()[0]["state"] == "adjudicate"
        with client.service.sessions() as session:
            seats = text("SELECT count(*) FROM annotation_seats WHERE adjudication AND queue_id = :id")
            adjudicators = session.scalar(seats, {"id": queue.id})
        assert adjudicators == 1

    def test_an_expired_claim_goes_to_one_of_many(self, client: Client) -> None:
        queue = Queue.create(client)
        fill(queue, 1)
        old = queue.claimed("ada")
        queue.expire(old)
        claims = at_once(*[lambda name=f"p{i}": queue.claim(name) for i in range(6)])
        assert sum(claim is not None for claim in claims) == 1
