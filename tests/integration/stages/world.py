"""A project on a real database and store; its runs are driven shard by shard in this process, under the real fence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from cryptography.fernet import Fernet
from pydantic import SecretStr
from sqlalchemy import Engine, select
from sqlalchemy.orm import aliased

from app.config import Settings
from app.db.base import Base
from app.db.ids import Kind, new_id
from app.db.models import (
    Comparison,
    Completion,
    Judge,
    Model,
    ModelKind,
    Preference,
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
from tests.integration.stages.in_process import LEASE_S, InProcess, Killed, Watch
from workers.stages.contract import BudgetReached, ShardWork, StageOutcome, StageRefused
from workers.stages.registry import stage_function

Row = TypeVar("Row", bound=Base)
EXAMPLES = Path(__file__).parents[3] / "examples"


class World:
    """One project. `run` makes a run of a recipe, `drive` works it off."""

    def __init__(self, url: str, root: Path) -> None:
        self.settings = Settings(
            database_url=url,
            artifacts_dir=root / "artifacts",
            private_networks="127.0.0.0/8",
            secret_key=SecretStr(Fernet.generate_key().decode()),
            stop_grace_s=1.0,
        )
        self.engine: Engine = make_engine(self.settings)
        self.sessions = make_session_factory(self.engine)
        self.store = ArtifactStore(self.settings.artifacts_dir)
        self.project = new_id(Kind.PROJECT)
        with self.sessions.begin() as session:
            session.add(Project(id=self.project, name=self.project))
        self.model = self.add_model("example", EXAMPLES / "base_model")
        self.rubric = self.add_rubric(json.loads((EXAMPLES / "rubric.json").read_text()))
        own = json.loads((EXAMPLES / "evaluation_judge.json").read_text())["spec"]["criteria"]
        self.judge = self.add_judge({"kind": "checks", "family": "checks"})
        self.evaluation_judge = self.add_judge({"kind": "checks", "family": "other-checks", "criteria": own})

    def close(self) -> None:
        self.engine.dispose()

    def add_model(self, name: str, directory: Path, *, architecture: str = "LlamaForCausalLM") -> str:
        manifest = self.store.publish(f"models/{name}", directory)
        row = Model(
            id=new_id(Kind.MODEL),
            project_id=self.project,
            name=name,
            kind=ModelKind.BASE,
            source=f"local:{name}",
            storage_key=f"models/{name}",
            family="example",
            architecture=architecture,
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

    def add_judge(self, spec: Mapping[str, Any], *, checkpoint: str | None = None) -> str:
        id_ = new_id(Kind.JUDGE)
        row = Judge(
            id=id_,
            project_id=self.project,
            name=id_,
            kind=spec["kind"],
            family=spec["family"],
            spec=dict(spec),
            checkpoint_id=checkpoint,
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
            tools=prompt.get("tools"),
            cohort=prompt["cohort"],
            split=Split(prompt["split"]),
            reference=prompt.get("reference"),
            criteria=prompt.get("criteria", []),
            candidates=prompt.get("candidates", []),
            preferences=prompt.get("preferences", []),
            authors=prompt.get("authors", []),
            annotations=prompt.get("annotations", []),
            outcomes=prompt.get("outcomes", []),
        )

    def add_run(
        self,
        recipe: Mapping[str, Any],
        prompt_set: str,
        *,
        judge: str | None = None,
        evaluation_judge: str | None = None,
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
            evaluation_judge_id=evaluation_judge or self.evaluation_judge,
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
        return ShardWork.of(claim)

    def work_off(self, shard_id: str) -> None:
        """Claim, run and commit one shard, as a supervisor does."""
        work = self.claim(shard_id)
        try:
            outcome = self.execute(work)
        except StageRefused as error:
            cause = engine.Cause(error.code, error.detail)
            with self.sessions.begin() as session:
                engine.fail_attempt(session, work.shard_id, work.token, cause, retryable=False)
        except BudgetReached as error:
            reason = error.detail
            with self.sessions.begin() as session:
                engine.pause_for(session, work.shard_id, work.token, reason=reason)
        else:
            self.complete(work, outcome)

    def execute(self, work: ShardWork, *, progress: Watch | None = None, kill_at: int | None = None) -> StageOutcome:
        context = self.context(work, progress=progress, kill_at=kill_at)
        return stage_function(self.settings.stage_registry, work.kind)(context)

    def context(self, work: ShardWork, *, progress: Watch | None = None, kill_at: int | None = None) -> InProcess:
        return InProcess(work, self.settings, self.sessions, progress=progress or Watch(), kill_at=kill_at)

    def drive_killed(self, run_id: str) -> int:
        """Like `drive`, but each attempt at a shard is killed one transaction later than the one before."""
        kills = 0
        while (shard_id := self.next_shard(run_id)) is not None:
            for kill_at in count(1):
                work = self.claim(shard_id)
                try:
                    outcome = self.execute(work, kill_at=kill_at)
                except Killed:
                    kills += 1
                    self.release(work)
                else:
                    self.complete(work, outcome)
                    break
        return kills

    def release(self, work: ShardWork) -> None:
        with self.sessions.begin() as session:
            engine.release(session, work.shard_id, work.token)

    def complete(self, work: ShardWork, outcome: StageOutcome) -> None:
        with self.sessions.begin() as session:
            engine.complete(session, work.shard_id, work.token, units=outcome.units, metrics=outcome.metrics)

    def get(self, table: type[Row], id_: str) -> Row:
        with self.sessions() as session:
            return session.get_one(table, id_)

    def rows(self, table: type[Row], run_id: str, **where: Any) -> list[Row]:
        """A run's rows of one table, in the order of their making."""
        query = select(table).filter_by(run_id=run_id, **where).order_by("id")
        with self.sessions() as session:
            return list(session.scalars(query))

    def model_of(self, checkpoint_id: str) -> Model:
        with self.sessions() as session:
            return session.scalars(select(Model).where(Model.checkpoint_id == checkpoint_id)).one()

    def preferences(self, run_id: str) -> dict[tuple[str, int, int], tuple[Any, ...]]:
        """What a run believes, by the prompt's own id and the completions' positions."""
        first, second = aliased(Completion), aliased(Completion)
        query = (
            select(Prompt.external_id, first.position, second.position, Preference)
            .join(Comparison, Comparison.id == Preference.comparison_id)
            .join(Prompt, Prompt.id == Comparison.prompt_id)
            .join(first, first.id == Comparison.first_id)
            .join(second, second.id == Comparison.second_id)
            .where(Preference.run_id == run_id)
        )
        with self.sessions() as session:
            return {
                (prompt, one, other): (row.split, row.probability, row.weight, row.drop_reason)
                for prompt, one, other, row in session.execute(query)
            }

    def stage(self, run_id: str, kind: StageKind) -> Stage:
        with self.sessions() as session:
            return session.scalars(select(Stage).where(Stage.run_id == run_id, Stage.kind == kind)).one()


def example_prompts(*, train: int, held_out: int) -> list[dict[str, Any]]:
    """The first prompts of each split of the examples, spread over the cohorts."""
    lines = [json.loads(line) for line in (EXAMPLES / "prompts.jsonl").read_text().splitlines()]
    chosen = []
    for split, wanted in (("train", train), ("held_out", held_out)):
        of_split = [line for line in lines if line["split"] == split]
        chosen += of_split[:: max(1, len(of_split) // max(1, wanted))][:wanted]
    return chosen
