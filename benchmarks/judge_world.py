"""Prompts with sampled completions in a database of the benchmark's own, and runs whose judge stage is next."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from app.config import Settings
from app.db.ids import Kind, new_id
from app.db.models import (
    Completion,
    CompletionSource,
    Judge,
    Model,
    ModelKind,
    Project,
    Prompt,
    PromptSet,
    Rubric,
    RubricRevision,
    Run,
    Shard,
    ShardStatus,
    Split,
    Stage,
    StageStatus,
    Verdict,
)
from app.db.session import make_engine, make_session_factory
from app.rlaif.comparison import Answer, Order
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.rubric import Rubric as RubricContent
from app.services import engine

COMPLETIONS = 4
VERDICTS_A_PROMPT = len(list(combinations(range(COMPLETIONS), 2))) * len(Order)
_ROWS_AT_ONCE = 5000
_WORDS = """
the tide rises because moon pulls water toward it while earth turns under and every coast sees two highs a day some
places more others less since shape of shore depth wind season all change what people measure there
""".split()  # noqa: SIM905 - a list of it would take forty lines
_RUBRIC: dict[str, Any] = {
    "description": "A good answer helps the person who asked.",
    "criteria": [
        {"name": "correct", "description": "What the answer states is true and follows from what is known."},
        {"name": "complete", "description": "Every part of the question is answered.", "weight": 0.5},
        {"name": "clear", "description": "A reader who does not know the subject understands it.", "weight": 0.5},
    ],
}


@dataclass(frozen=True, slots=True)
class Stored:
    """The verdicts of a run: all, and those that say nothing because the endpoint gave no answer."""

    verdicts: int
    invalid: int


def texts(number: int) -> tuple[str, list[str]]:
    """A question of 60 words and its completions of 40 to 160, the same ones for the same number."""
    draw = random.Random(number)
    return _prose(draw, 60), [_prose(draw, draw.randint(40, 160)) for _ in range(COMPLETIONS)]


def _prose(draw: random.Random, words: int) -> str:
    return " ".join(draw.choices(_WORDS, k=words)) + "."


class ShardUnfinished(Exception):
    """Raised when the worker gave a shard back or failed it: there is nothing to measure."""


class World:
    """One project with `prompts` prompts, sampled once; `judge_shard` makes a run whose first judge shard is free."""

    def __init__(self, settings: Settings, *, prompts: int) -> None:
        self._engine = make_engine(settings, pool_size=2)
        self._sessions = make_session_factory(self._engine)
        self._project = new_id(Kind.PROJECT)
        self._prompts = prompts
        with self._sessions.begin() as session:
            session.add(Project(id=self._project, name="benchmark"))
            session.flush()
            self._model = self._add_model(session)
            self._rubric = self._add_rubric(session)
            self._prompt_set = self._add_prompts(session)
            self._sampled = self._add_run(session, judge=None, recipe=Recipe())
            self._add_completions(session)

    def close(self) -> None:
        self._engine.dispose()

    def judge_shard(self, *, verdicts: int, base_url: str, in_flight: int) -> tuple[str, str]:
        """The ids of a new run and of a shard of at most `verdicts` questions, for a judge at `base_url`.

        Raises ValueError for more verdicts than there are prompts for.
        """
        prompts = verdicts // VERDICTS_A_PROMPT
        if not 0 < prompts <= self._prompts:
            raise ValueError(f"{verdicts} verdicts need {prompts} prompts, there are {self._prompts}")
        recipe = Recipe.model_validate({"judge": {"prompts_per_shard": prompts}})
        with self._sessions.begin() as session:
            judge = self._add_judge(session, base_url, in_flight)
            run = self._add_run(session, judge=judge, recipe=recipe)
            session.add(
                Stage(
                    id=new_id(Kind.STAGE),
                    project_id=self._project,
                    run_id=run.id,
                    round=0,
                    position=0,
                    kind=StageKind.SAMPLE,
                    status=StageStatus.REUSED,
                    source_run_id=self._sampled.id,
                )
            )
            session.flush()
            engine.start_run(session, run)
            shard = session.scalars(select(Shard.id).where(Shard.run_id == run.id).order_by(Shard.position)).first()
        if shard is None:
            raise ValueError(f"run {run.id} was cut into no shard")
        return run.id, shard

    def stored(self, run_id: str, shard_id: str) -> Stored:
        """Raises ShardUnfinished."""
        with self._sessions() as session:
            shard = session.get_one(Shard, shard_id)
            if shard.status is not ShardStatus.SUCCEEDED:
                raise ShardUnfinished(f"shard {shard_id} is {shard.status}: {shard.error}")
            count = select(func.count(), func.count().filter(Verdict.answer == Answer.INVALID))
            return Stored(*session.execute(count.where(Verdict.run_id == run_id)).one())

    def _add_model(self, session: Session) -> str:
        id_ = new_id(Kind.MODEL)
        session.add(
            Model(
                id=id_,
                project_id=self._project,
                name="none",
                kind=ModelKind.BASE,
                source="local:none",
                storage_key="models/none",
                family="none",
                architecture="none",
                parameters=1,
                digest="0" * 64,
            )
        )
        return id_

    def _add_rubric(self, session: Session) -> str:
        content = RubricContent.model_validate(_RUBRIC)
        rubric, revision = new_id(Kind.RUBRIC), new_id(Kind.REVISION)
        session.add(Rubric(id=rubric, project_id=self._project, name="helpful"))
        session.flush()
        session.add(
            RubricRevision(
                id=revision,
                project_id=self._project,
                rubric_id=rubric,
                number=1,
                content=content.model_dump(mode="json"),
                content_hash=content.content_hash(),
            )
        )
        return revision

    def _add_prompts(self, session: Session) -> str:
        id_ = new_id(Kind.PROMPT_SET)
        session.add(
            PromptSet(
                id=id_,
                project_id=self._project,
                name="tides",
                train_count=self._prompts,
                held_out_count=0,
                cohorts={"helpfulness": self._prompts},
                digest="0" * 64,
            )
        )
        session.flush()
        self._prompt_ids = [new_id(Kind.PROMPT) for _ in range(self._prompts)]
        _insert(session, Prompt, (self._prompt(id_, number) for number in range(self._prompts)))
        return id_

    def _prompt(self, prompt_set: str, number: int) -> dict[str, Any]:
        return {
            "id": self._prompt_ids[number],
            "project_id": self._project,
            "prompt_set_id": prompt_set,
            "position": number,
            "external_id": f"p{number}",
            "messages": [{"role": "user", "content": texts(number)[0]}],
            "cohort": "helpfulness",
            "split": Split.TRAIN,
            "criteria": [],
            "candidates": [],
            "preferences": [],
        }

    def _add_judge(self, session: Session, base_url: str, in_flight: int) -> str:
        id_ = new_id(Kind.JUDGE)
        spec = {
            "kind": "openai",
            "family": "scripted",
            "base_url": base_url,
            "model": "scripted",
            "top_logprobs": 5,
            "max_concurrency": in_flight,
            "usd_per_million_input_tokens": 0.15,
            "usd_per_million_output_tokens": 0.6,
        }
        session.add(Judge(id=id_, project_id=self._project, name=id_, kind="openai", family="scripted", spec=spec))
        session.flush()
        return id_

    def _add_run(self, session: Session, *, judge: str | None, recipe: Recipe) -> Run:
        run = Run(
            id=new_id(Kind.RUN),
            project_id=self._project,
            name="benchmark",
            recipe=recipe.model_dump(mode="json"),
            rubric_revision_id=self._rubric,
            prompt_set_id=self._prompt_set,
            base_model_id=self._model,
            judge_id=judge,
        )
        session.add(run)
        session.flush()
        return run

    def _add_completions(self, session: Session) -> None:
        _insert(session, Completion, (row for number in range(self._prompts) for row in self._completions(number)))

    def _completions(self, number: int) -> Iterator[dict[str, Any]]:
        for position, text in enumerate(texts(number)[1]):
            yield {
                "id": new_id(Kind.COMPLETION),
                "project_id": self._project,
                "run_id": self._sampled.id,
                "round": 0,
                "split": Split.TRAIN,
                "source": CompletionSource.BASE,
                "prompt_id": self._prompt_ids[number],
                "position": position,
                "text": text,
                "finish_reason": "stop",
                "prompt_tokens": 80,
                "tokens": len(text) // 5,
            }


def _insert(session: Session, table: type[Prompt] | type[Completion], rows: Iterator[dict[str, Any]]) -> None:
    block: list[dict[str, Any]] = []
    for row in rows:
        block.append(row)
        if len(block) == _ROWS_AT_ONCE:
            session.execute(insert(table), block)
            block = []
    if block:
        session.execute(insert(table), block)
