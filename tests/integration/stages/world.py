"""A project on a real database and store, whose runs are driven shard by shard in this process, under the real fence."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from app.config import Settings
from app.db.ids import Kind, new_id
from app.db.models import (
    Judge,
    Model,
    ModelKind,
    Project,
    Prompt,
    PromptSet,
    Rubric,
    RubricRevision,
    Run,
    RunStatus,
    Shard,
    ShardStatus,
    Split,
    Stage,
    StageStatus,
)
from app.db.session import make_engine, make_session_factory
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.rubric import Rubric as RubricContent
from app.services import engine
from app.storage import ArtifactStore
from workers.lease import fenced
from workers.scratch import scratch_directory
from workers.stages.contract import BudgetReached, GiveBack, LeaseLost, ShardWork, StageOutcome, StageRefused
from workers.stages.registry import stage_function

EXAMPLES = Path(__file__).parents[3] / "examples"
LEASE_S = 600.0


class Killed(BaseException):
    """What stands for `kill -9` in this process: nothing catches it."""


@dataclass
class Watch:
    """`Progress` that remembers reports and asks to stop after so many looks."""

    stop_after: int | None = None
    looks: int = 0
    reports: list[tuple[int, int, Mapping[str, float]]] = field(default_factory=list)

    def report(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        self.reports.append((step, total, metrics))

    def should_stop(self) -> bool:
        self.looks += 1
        return self.stop_after is not None and self.looks > self.stop_after


class InProcess:
    """`StageContext` without a child process. `kill_at` kills it around the end of that many transactions."""

    def __init__(self, world: World, work: ShardWork, *, progress: Watch, kill_at: int | None = None) -> None:
        self.work = work
        self.settings = world.settings
        self.progress = progress
        self._sessions = world.sessions
        self._kill_at = kill_at
        self.transactions = 0

    @contextmanager
    def read(self) -> Iterator[Session]:
        with self._sessions() as session:
            yield session

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """Killed before the commit at odd counts, after it at even ones."""
        with self._sessions.begin() as session:
            fenced(session, self.work.shard_id, self.work.token, lease_s=LEASE_S)
            yield session
            self.transactions += 1
            if self.transactions == self._kill_at and self.transactions % 2:
                raise Killed
        if self.transactions == self._kill_at:
            raise Killed

    def scratch(self) -> Path:
        return scratch_directory(self.settings.artifacts_dir, self.work.shard_id, self.work.token)


class World:
    """One project. `run` makes a run of a recipe, `drive` works it off."""

    def __init__(self, url: str, root: Path) -> None:
        self.settings = Settings(database_url=url, artifacts_dir=root / "artifacts")
        self.engine: Engine = make_engine(self.settings)
        self.sessions = make_session_factory(self.engine)
        self.store = ArtifactStore(self.settings.artifacts_dir)
        self.project = new_id(Kind.PROJECT)
        with self.sessions.begin() as session:
            session.add(Project(id=self.project, name=self.project))
        self.model = self._base_model()
        self.rubric = self.add_rubric(json.loads((EXAMPLES / "rubric.json").read_text()))
        own = json.loads((EXAMPLES / "evaluation_rubric.json").read_text())["criteria"]
        self.judge = self.add_judge({"kind": "checks", "family": "checks"})
        self.evaluation_judge = self.add_judge({"kind": "checks", "family": "other-checks", "criteria": own})

    def close(self) -> None:
        self.engine.dispose()

    def _base_model(self) -> str:
        manifest = self.store.publish("models/example", EXAMPLES / "base_model")
        row = Model(
            id=new_id(Kind.MODEL),
            project_id=self.project,
            name="example",
            kind=ModelKind.BASE,
            source="local:example",
            storage_key="models/example",
            family="example",
            architecture="LlamaForCausalLM",
            parameters=1_200_000,
            digest=manifest.digest,
        )
        with self.sessions.begin() as session:
            session.add(row)
        return row.id

    def add_rubric(self, content: Mapping[str, Any]) -> str:
        rubric = RubricContent.model_validate({key: content[key] for key in content.keys() - {"name"}})
        parent = Rubric(id=new_id(Kind.RUBRIC), project_id=self.project, name=new_id(Kind.RUBRIC))
        revision = RubricRevision(
            id=new_id(Kind.REVISION),
            project_id=self.project,
            rubric_id=parent.id,
            number=1,
            content=rubric.model_dump(mode="json"),
            content_hash=rubric.content_hash(),
        )
        with self.sessions.begin() as session:
            session.add(parent)
            session.flush()
            session.add(revision)
        return revision.id

    def add_judge(self, spec: Mapping[str, Any]) -> str:
        id_ = new_id(Kind.JUDGE)
        row = Judge(
            id=id_, project_id=self.project, name=id_, kind=spec["kind"], family=spec["family"], spec=dict(spec)
        )
        with self.sessions.begin() as session:
            session.add(row)
        return id_

    def add_prompts(self, prompts: Sequence[Mapping[str, Any]]) -> str:
        id_ = new_id(Kind.PROMPT_SET)
        splits = [prompt["split"] for prompt in prompts]
        with self.sessions.begin() as session:
            session.add(
                PromptSet(
                    id=id_,
                    project_id=self.project,
                    name=id_,
                    train_count=splits.count("train"),
                    held_out_count=splits.count("held_out"),
                    cohorts={},
                    digest="0" * 64,
                )
            )
            session.flush()
            session.add_all(self._prompt(id_, position, prompt) for position, prompt in enumerate(prompts))
        return id_

    def _prompt(self, prompt_set: str, position: int, prompt: Mapping[str, Any]) -> Prompt:
        return Prompt(
            id=new_id(Kind.PROMPT),
            project_id=self.project,
            prompt_set_id=prompt_set,
            position=position,
            external_id=prompt["id"],
            messages=prompt["messages"],
            cohort=prompt["cohort"],
            split=Split(prompt["split"]),
            reference=prompt.get("reference"),
            criteria=prompt.get("criteria", []),
            candidates=prompt.get("candidates", []),
            preferences=prompt.get("preferences", []),
        )

    def add_run(
        self,
        recipe: Mapping[str, Any],
        prompt_set: str,
        *,
        judge: str | None = None,
        reuse: Mapping[StageKind, str] | None = None,
    ) -> str:
        """A started run. `reuse` names the run whose stage stands for this one's."""
        run = Run(
            id=new_id(Kind.RUN),
            project_id=self.project,
            name="test",
            recipe=Recipe.model_validate(recipe).model_dump(mode="json"),
            rubric_revision_id=self.rubric,
            prompt_set_id=prompt_set,
            base_model_id=self.model,
            judge_id=judge or self.judge,
            evaluation_judge_id=self.evaluation_judge,
        )
        with self.sessions.begin() as session:
            session.add(run)
            session.flush()
            for position, (kind, source) in enumerate((reuse or {}).items()):
                session.add(
                    Stage(
                        id=new_id(Kind.STAGE),
                        project_id=self.project,
                        run_id=run.id,
                        round=0,
                        position=position,
                        kind=kind,
                        status=StageStatus.REUSED,
                        source_run_id=source,
                    )
                )
            session.flush()
            engine.start_run(session, run)
        return run.id

    def drive(self, run_id: str) -> Run:
        """Work off every shard until the run rests, and return it."""
        while (shard_id := self.next_shard(run_id)) is not None:
            self.work_off(shard_id)
        return self.get(Run, run_id)

    def next_shard(self, run_id: str) -> str | None:
        query = (
            select(Shard.id)
            .join(Run, Run.id == Shard.run_id)
            .where(Shard.run_id == run_id, Shard.status == ShardStatus.QUEUED)
            .where(Run.status.in_((RunStatus.QUEUED, RunStatus.RUNNING)))
            .order_by(Shard.position)
        )
        with self.sessions() as session:
            return session.scalars(query).first()

    def claim(self, shard_id: str) -> ShardWork:
        with self.sessions.begin() as session:
            claim = engine.claim(session, shard_id, worker="test", lease_s=LEASE_S)
        assert claim is not None
        return ShardWork(**{item.name: getattr(claim, item.name) for item in fields(ShardWork)})

    def work_off(self, shard_id: str) -> None:
        """Claim, run and commit one shard, as a supervisor does."""
        work = self.claim(shard_id)
        self.end(work, lambda: self.execute(work))

    def execute(self, work: ShardWork, *, progress: Watch | None = None, kill_at: int | None = None) -> StageOutcome:
        context = InProcess(self, work, progress=progress or Watch(), kill_at=kill_at)
        return stage_function(self.settings.stage_registry, work.kind)(context)

    def end(self, work: ShardWork, execute: Callable[[], StageOutcome]) -> None:
        """Write down how a shard ended."""
        try:
            outcome = execute()
        except StageRefused as error:
            cause = engine.Cause(error.code, error.detail)
            with self.sessions.begin() as session:
                assert engine.fail_attempt(session, work.shard_id, work.token, cause, retryable=False)
        except BudgetReached as error:
            with self.sessions.begin() as session:
                assert engine.pause_for(session, work.shard_id, work.token, reason=error.detail)
        except (GiveBack, Killed):
            with self.sessions.begin() as session:
                assert engine.release(session, work.shard_id, work.token)
        else:
            with self.sessions.begin() as session:
                assert engine.complete(session, work.shard_id, work.token, units=outcome.units, metrics=outcome.metrics)

    def get(self, table: type[Any], id_: str) -> Any:
        with self.sessions() as session:
            return session.get_one(table, id_)

    def rows(self, table: type[Any], run_id: str, **where: Any) -> list[Any]:
        """A run's rows of one table, in the order of their ids."""
        query = select(table).filter_by(run_id=run_id, **where).order_by(table.id)
        with self.sessions() as session:
            return list(session.scalars(query))

    def stage(self, run_id: str, kind: StageKind) -> Stage:
        with self.sessions() as session:
            return session.scalars(select(Stage).where(Stage.run_id == run_id, Stage.kind == kind)).one()


def example_prompts(*, train: int, held_out: int) -> list[dict[str, Any]]:
    """The first prompts of each split of the examples, spread over the cohorts."""
    lines = [json.loads(line) for line in (EXAMPLES / "prompts.jsonl").read_text().splitlines()]
    chosen = []
    for split, count in (("train", train), ("held_out", held_out)):
        of_split = [line for line in lines if line["split"] == split]
        chosen += of_split[:: max(1, len(of_split) // count)][:count]
    return chosen
