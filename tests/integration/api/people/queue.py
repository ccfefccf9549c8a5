"""One annotation queue as its clients see it, and runs with verdicts to fill it from."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import httpx
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import Comparison, Completion, CompletionSource, Prompt, Purpose, Run, Split, Verdict
from app.rlaif.comparison import Answer, Order
from tests.integration.api.runs.produced import FIGURES
from tests.integration.api.runs.service import RUBRIC, Client

Result = TypeVar("Result")
JSONL = {"Content-Type": "application/jsonl"}


@dataclass(frozen=True)
class Queue:
    client: Client
    id: str

    @classmethod
    def create(cls, client: Client, **changes: Any) -> Queue:
        """A queue of its own name, by the rubric that `Client.run` judges by."""
        known = client.get("/v1/rubrics", name=RUBRIC["name"])["data"]
        rubric = known[0] if known else client.post("/v1/rubrics", RUBRIC)
        count = len(client.get("/v1/annotation-queues")["data"])
        body = {"name": f"queue {count}", "rubric": rubric["id"], **changes}
        return cls(client, client.post("/v1/annotation-queues", body)["id"])

    @property
    def path(self) -> str:
        return f"/v1/annotation-queues/{self.id}"

    def route(self, run_id: str, *, expect: int = 201, **changes: Any) -> Any:
        body = {"run": run_id, "limit": 100, "by": [{"reason": "random"}], **changes}
        return self.client.post(f"{self.path}:route", body, expect=expect)

    def claim(self, annotator: str, *, adjudicate: bool = False) -> dict[str, Any] | None:
        body = {"annotator": annotator, "adjudicate": adjudicate}
        answer = self.client.http.post(f"{self.path}/claims", json=body)
        assert answer.status_code in (200, 204), answer.text
        claim: dict[str, Any] | None = answer.json() if answer.status_code == 200 else None
        return claim

    def claimed(self, annotator: str, *, adjudicate: bool = False) -> dict[str, Any]:
        claim = self.claim(annotator, adjudicate=adjudicate)
        assert claim is not None
        return claim

    def answer(self, claim: Mapping[str, Any], answer: str, *, expect: int = 200, **changes: Any) -> Any:
        body = {"token": claim["token"], "answer": answer, **changes}
        return self.client.post(f"{self.path}/claims/{claim['id']}:answer", body, expect=expect)

    def release(self, claim: Mapping[str, Any], *, expect: int = 204) -> httpx.Response:
        path = f"{self.path}/claims/{claim['id']}:release"
        answer = self.client.http.post(path, json={"token": claim["token"]})
        assert answer.status_code == expect, answer.text
        return answer

    def say(self, annotator: str, answer: str, *, adjudicate: bool = False) -> dict[str, Any]:
        """Claim the next item and answer it in the comparison's own numbering."""
        claim = self.claimed(annotator, adjudicate=adjudicate)
        given: dict[str, Any] = self.answer(claim, as_shown(self.order(claim), answer))
        assert given["answer"] == answer
        return given

    def order(self, claim: Mapping[str, Any]) -> str:
        with self.client.service.sessions() as session:
            query = text('SELECT "order" FROM annotation_seats WHERE id = :id')
            return str(session.scalar(query, {"id": claim["id"]}))

    def expire(self, claim: Mapping[str, Any]) -> None:
        """Let the claim's time run out now."""
        statement = text("UPDATE annotation_seats SET expires_at = now() - interval '1 second' WHERE id = :id")
        with self.client.service.sessions.begin() as session:
            session.execute(statement, {"id": claim["id"]})

    def items(self, **where: Any) -> list[dict[str, Any]]:
        return self.client.rows(f"{self.path}/items", **where)

    def annotations(self, **where: Any) -> list[dict[str, Any]]:
        return self.client.rows(f"{self.path}/annotations", **where)

    def upload(self, *rows: Mapping[str, Any] | bytes, headers: Mapping[str, str] = JSONL) -> httpx.Response:
        lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
        content = b"\n".join(lines)
        return self.client.http.post(f"{self.path}/annotations:upload", content=content, headers=headers)

    def uploaded(self, *rows: Mapping[str, Any]) -> dict[str, Any]:
        answer = self.upload(*rows)
        assert answer.status_code == 201, answer.text
        counts: dict[str, Any] = answer.json()
        return counts


def at_once(*actions: Callable[[], Result]) -> list[Result]:
    """Run the actions side by side, all let go at the same moment."""
    barrier = threading.Barrier(len(actions))

    def go(action: Callable[[], Result]) -> Result:
        barrier.wait()
        return action()

    with ThreadPoolExecutor(len(actions)) as pool:
        return list(pool.map(go, actions))


def as_shown(order: str, answer: str) -> str:
    """What to press for an answer in the comparison's own numbering."""
    return {"A": "B", "B": "A"}.get(answer, answer) if order == "BA" else answer


def judged_run(client: Client, beliefs: Sequence[Mapping[str, tuple[float, float]]]) -> tuple[str, list[str]]:
    """A run of one comparison for each entry, whose judges (by name) gave P(first is better) in orders AB and BA.

    Its id and those of the comparisons. Several judges are a panel.
    """
    prompts = [
        {"messages": [{"role": "user", "content": f"What is {i}?"}], "split": "train"} for i in range(len(beliefs))
    ]
    judges = {name: _judge(client, name, {"kind": "checks", "family": name}) for each in beliefs for name in each}
    members = list(judges.values())
    panel = {"kind": "panel", "members": members}
    run = client.run(
        prompt_set={"name": f"prompts {len(client.rows('/v1/prompt-sets'))}", "prompts": prompts},
        judge=_judge(client, "panel", panel) if len(members) > 1 else members[0],
        evaluation_judge=None,
        recipe={"stop_after": "judge"},
    )
    client.drive(run["id"], metrics=FIGURES)
    with client.service.sessions.begin() as session:
        return run["id"], list(_compare(session, run["id"], beliefs, judges))


def _judge(client: Client, name: str, spec: Mapping[str, Any]) -> str:
    known = client.rows("/v1/judges", name=name)
    judge = known[0] if known else client.post("/v1/judges", {"name": name, "spec": dict(spec)})
    return str(judge["id"])


def _compare(
    session: Session, run_id: str, beliefs: Sequence[Mapping[str, tuple[float, float]]], judges: Mapping[str, str]
) -> list[str]:
    run, made = session.get_one(Run, run_id), []
    query = select(Prompt).where(Prompt.prompt_set_id == run.prompt_set_id).order_by(Prompt.position)
    for prompt, by_judge in zip(session.scalars(query), beliefs, strict=True):
        pair = [_completion(run, prompt, position) for position in range(2)]
        session.add_all(pair)
        session.flush()
        comparison = Comparison(
            id=new_id(Kind.COMPARISON), project_id=run.project_id, run_id=run.id, round=0, purpose=Purpose.TRAIN,
            prompt_id=prompt.id, first_id=pair[0].id, second_id=pair[1].id,
        )  # fmt: skip
        session.add(comparison)
        session.flush()
        for judge, probabilities in by_judge.items():
            for order, probability in zip(Order, probabilities, strict=True):
                session.add(_verdict(run, comparison, judges[judge], order, probability))
        made.append(comparison.id)
    return made


def _completion(run: Run, prompt: Prompt, position: int) -> Completion:
    return Completion(
        id=new_id(Kind.COMPLETION), project_id=run.project_id, run_id=run.id, round=0, split=Split.TRAIN,
        source=CompletionSource.BASE, prompt_id=prompt.id, position=position, text=f"{prompt.position}: {position}",
        finish_reason="stop",
    )  # fmt: skip


def _verdict(run: Run, comparison: Comparison, judge_id: str, order: Order, probability: float) -> Verdict:
    answer = Answer.TIE if probability == 0.5 else Answer.A if probability > 0.5 else Answer.B
    return Verdict(
        id=new_id(Kind.VERDICT), project_id=run.project_id, run_id=run.id, comparison_id=comparison.id,
        judge_id=judge_id, order=order, answer=answer, probability=probability, raw_text="secret opinion",
    )  # fmt: skip
