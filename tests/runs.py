"""Started runs for tests: the least that the tables ask for, around the shards that a test wants."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import Model, ModelKind, Project, PromptSet, Run
from app.rlaif.recipe import Recipe
from app.services import engine


def submit(session: Session, *, shards: int = 1, held_out: int = 0, **recipe: Any) -> Run:
    """A started run whose sample stage has so many shards; it stops after that stage unless the recipe says more."""
    run = new_run(session, shards=shards, held_out=held_out, **recipe)
    engine.start_run(session, run)
    return run


def new_run(session: Session, *, shards: int = 1, held_out: int = 0, **recipe: Any) -> Run:
    """Such a run before its start."""
    project = Project(id=new_id(Kind.PROJECT), name=new_id(Kind.PROJECT))
    session.add(project)
    session.flush()
    prompts = PromptSet(
        id=new_id(Kind.PROMPT_SET),
        project_id=project.id,
        name="prompts",
        train_count=shards,
        held_out_count=held_out,
        cohorts={},
        digest="0" * 64,
    )
    model = Model(
        id=new_id(Kind.MODEL),
        project_id=project.id,
        name="base",
        kind=ModelKind.BASE,
        source="local:base",
        storage_key="models/base",
        family="tiny",
        architecture="LlamaForCausalLM",
        parameters=1,
        digest="0" * 64,
    )
    session.add_all([prompts, model])
    session.flush()
    one_each = {"sample": {"prompts_per_shard": 1}, "judge": {"prompts_per_shard": 1}}
    settings = Recipe.model_validate({"stop_after": "sample"} | one_each | recipe)
    run = Run(
        id=new_id(Kind.RUN),
        project_id=project.id,
        name="run",
        recipe=settings.model_dump(mode="json"),
        prompt_set_id=prompts.id,
        base_model_id=model.id,
    )
    session.add(run)
    session.flush()
    return run
