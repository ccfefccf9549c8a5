"""The service as a client meets it: every part a process, the public API, and small runs of the examples."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import text

from tests.process.judge_server import JudgeServer
from tests.stack import RealStack, wait_for

EXAMPLES = Path(__file__).parents[2] / "examples"
TRAIN, HELD_OUT = 12, 6
CANARY = "canary-key-3f9a1c"
"""The judge's API key: it must be seen nowhere but in calls of the judge."""

RECIPE: dict[str, Any] = {
    "seed": 11,
    "sample": {"completions": 3, "held_out_completions": 2, "max_new_tokens": 24, "prompts_per_shard": 4},
    "judge": {"prompts_per_shard": 4},
    "prefer": {"max_length": 128},
    "reward_model": {"learning_rate": 5e-4, "epochs": 3, "batch_size": 4, "max_length": 128, "save_steps": 3},
    "policy": {"learning_rate": 1e-4, "epochs": 4, "batch_size": 4, "max_length": 128, "save_steps": 3},
    "evaluate": {"bootstrap_samples": 200},
}
Json = dict[str, Any]


@dataclass(frozen=True)
class Parts:
    """Ids of what every run here is made of."""

    rubric: str
    prompt_set: str
    base_model: str
    checks_judge: str
    evaluation_judge: str


class Service(RealStack):
    """A stack with all parts up, a judge endpoint beside it, and what a client does with them."""

    def __init__(self, root: Path, judge: JudgeServer) -> None:
        super().__init__(root, models_dir=EXAMPLES)
        self.judge = judge
        self._numbers = itertools.count(1)
        self.env["*"] |= {"RLAIF_PRIVATE_NETWORKS": "127.0.0.0/8", "RLAIF_LEASE_S": "5"}
        self.env["worker-gpu"] |= {
            "OMP_NUM_THREADS": "1",  # most steps of a tiny model are shorter than a hand-over
            "RLAIF_HEARTBEAT_S": "0.2",  # a training of seconds is seen, paused and cancelled in its middle
        }

    def mend(self) -> None:
        """Start again what a test killed, let the judge answer plainly, and cancel runs that are still open."""
        down = [name for name, process in self.processes.items() if process.returncode is not None]
        self.start(*(name for name in self.parts if name in down or name not in self.processes))
        self.judge.script()
        for run_id in self._open_runs():
            self.client.post(f"/v1/runs/{run_id}:cancel")  # which may have ended meanwhile
        wait_for(lambda: not self._open_runs(), what="the end of runs that earlier tests left")

    def _open_runs(self) -> list[str]:
        return [row["id"] for row in self.pages("/v1/runs", status=["queued", "running", "paused"])]

    def post(self, path: str, body: Json | None = None, *, key: str | None = None) -> Json:
        """A request that succeeds."""
        answer = self.client.post(path, json=body, headers={"Idempotency-Key": key} if key else {})
        assert answer.is_success, answer.text
        made: Json = answer.json()
        return made

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at a path."""
        answer = self.client.get(path, params=query)
        assert answer.is_success, answer.text
        return answer.json()

    def pages(self, path: str, **query: Any) -> list[Json]:
        """Every row of a list, read in pages small enough that there are several."""
        rows: list[Json] = []
        while True:
            page = self.get(path, limit=50, **query)
            rows += page["data"]
            if not page["has_more"]:
                return rows
            query["after"] = page["after"]

    def name(self, what: str) -> str:
        return f"{what}-{next(self._numbers)}"

    @cached_property
    def parts_of_runs(self) -> Parts:
        """Made once: what runs share is never changed by them."""
        prompts = self.client.post(
            "/v1/prompt-sets:upload",
            params={"name": "few"},
            headers={"Content-Type": "application/jsonl"},
            content="\n".join(few_prompts()).encode(),
        )
        assert prompts.is_success, prompts.text
        return Parts(
            rubric=self.post("/v1/rubrics", _example("rubric"))["id"],
            prompt_set=prompts.json()["id"],
            base_model=self.post("/v1/models", {"name": "base", "source": "local:base_model"})["id"],
            checks_judge=self.post("/v1/judges", _example("judge"))["id"],
            evaluation_judge=self.post("/v1/judges", _example("evaluation_judge"))["id"],
        )

    @cached_property
    def secret(self) -> str:
        """The name of the stored secret that holds CANARY, for the judge endpoint's host alone."""
        return str(self.post("/v1/secrets", {"name": "endpoint", "host": "127.0.0.1", "value": CANARY})["name"])

    def endpoint_judge(self, **spec: Any) -> str:
        """A judge that asks the scripted endpoint, by id."""
        whole = {
            "kind": "openai",
            "family": "scripted",
            "base_url": self.judge.base_url,
            "model": "scripted-1",
            "secret": self.secret,
            "top_logprobs": 5,
            "usd_per_million_input_tokens": 2.0,
            "usd_per_million_output_tokens": 8.0,
        }
        return str(self.post("/v1/judges", {"name": self.name("endpoint"), "spec": whole | spec})["id"])

    def submit(self, *, judge: str | None = None, recipe: Mapping[str, Any] | None = None, **body: Any) -> str:
        """Start a run of the few prompts; `recipe` differs from RECIPE in the sections that it names."""
        parts = self.parts_of_runs
        whole = {
            "name": self.name("run"),
            "rubric": parts.rubric,
            "prompt_set": parts.prompt_set,
            "base_model": parts.base_model,
            "judge": judge or parts.checks_judge,
            "evaluation_judge": parts.evaluation_judge,
            "recipe": merged(RECIPE, recipe or {}),
        }
        return str(self.post("/v1/runs", whole | body)["id"])

    def fork(self, run_id: str, from_stage: str, **body: Any) -> str:
        """Go on from another run's stage."""
        fork = {"run": run_id, "from_stage": from_stage}
        return str(self.post("/v1/runs", {"name": self.name("fork"), "fork": fork, **body})["id"])

    def run(self, run_id: str) -> Json:
        found: Json = self.get(f"/v1/runs/{run_id}")
        return found

    def stage(self, run_id: str, kind: str) -> Json:
        return next(stage for stage in self.run(run_id)["stages"] if stage["kind"] == kind)

    def reaches(self, run_id: str, status: str, *, timeout_s: float = 120.0) -> Json:
        """Poll as a client does until the run has the status; fails at once when it ends otherwise."""
        deadline = time.monotonic() + timeout_s
        etag = ""
        while True:
            answer = self.client.get(f"/v1/runs/{run_id}", params={"wait": 5}, headers={"If-None-Match": etag})
            if answer.status_code == 200:
                run: Json = answer.json()
                etag = answer.headers["ETag"]
                if run["status"] == status:
                    return run
                assert run["finished_at"] is None, run
            assert time.monotonic() < deadline, self.run(run_id)

    def finished(self, run_id: str) -> Json:
        return self.reaches(run_id, "succeeded")

    def trains(self, run_id: str, kind: str = "policy", *, steps: int = 3) -> int:
        """Wait until a training stage has reported so many steps, and is not done; how far it is."""

        def probe() -> int | None:
            stage = self.stage(run_id, kind)
            assert stage["status"] in ("pending", "running"), stage
            return stage["done_units"] if stage["done_units"] >= steps else None

        return wait_for(probe, what=f"{steps} steps of {kind}", timeout_s=60)

    def events(self, run_id: str, *types: str) -> list[Json]:
        return [row for row in self.pages(f"/v1/runs/{run_id}/events") if not types or row["type"] in types]

    def policy(self, run_id: str) -> Json:
        """The one policy checkpoint that the run itself made."""
        rows = [row for row in self.pages("/v1/checkpoints", run=run_id) if row["kind"] == "policy"]
        (made,) = [row for row in rows if row["run_id"] == run_id]
        return made

    def rows(self, statement: str, **values: Any) -> list[Any]:
        """Look into the database."""
        with self.sessions() as session:
            return list(session.execute(text(statement), values))

    def count(self, table: str, run_id: str) -> int:
        return int(self.rows(f"SELECT count(*) FROM {table} WHERE run_id = :run", run=run_id)[0][0])  # noqa: S608  a table of ours

    @contextmanager
    def held_up(self, table: str) -> Iterator[Callable[[], bool]]:
        """Nobody else can write to a table meanwhile. Yields a probe: whether somebody waits to do so."""
        waiting = "SELECT 1 FROM pg_locks WHERE relation = CAST(:name AS regclass) AND NOT granted"
        with self.sessions() as session:
            session.execute(text(f"LOCK TABLE {table} IN SHARE MODE"))
            yield lambda: bool(self.rows(waiting, name=table))

    def opens(self, run_id: str, kind: str) -> None:
        """Wait until a worker has begun with a stage."""

        def probe() -> bool:
            run = self.run(run_id)
            assert run["finished_at"] is None, run
            return any(stage["kind"] == kind and stage["started_at"] for stage in run["stages"])

        wait_for(probe, what=f"the start of {kind}", timeout_s=90)


def merged(whole: Mapping[str, Any], changes: Mapping[str, Any]) -> Json:
    """One level deep, section by section."""
    sections = {name: {**whole.get(name, {}), **part} for name, part in changes.items() if isinstance(part, dict)}
    return {**whole, **changes, **sections}


def few_prompts() -> Iterator[str]:
    """Lines of the examples' prompts, both splits, spread over the cohorts."""
    lines = (EXAMPLES / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    for split, count in (("train", TRAIN), ("held_out", HELD_OUT)):
        of_split = [line for line in lines if json.loads(line)["split"] == split]
        yield from of_split[:: len(of_split) // count][:count]


def _example(name: str) -> Json:
    loaded: Json = json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))
    return loaded
