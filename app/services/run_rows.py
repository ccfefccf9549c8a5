"""The row of a new run, from what it is made of."""

from __future__ import annotations

from app.db.ids import Kind, new_id
from app.db.models import Run, RunKind
from app.db.session import WriteSession
from app.services.run_plan import Plan


def insert_run(
    session: WriteSession, project_id: str, name: str, plan: Plan, *, kind: RunKind, forked_from_id: str | None
) -> Run:
    """Not started: its stages come with engine.start_run."""
    run = Run(
        id=new_id(Kind.RUN),
        project_id=project_id,
        kind=kind,
        name=name,
        recipe=plan.recipe.model_dump(mode="json"),
        rubric_revision_id=plan.rubric.id if plan.rubric else None,
        prompt_set_id=plan.prompt_set.id,
        base_model_id=plan.base_model.id if plan.base_model else None,
        judge_id=plan.judge.id if plan.judge else None,
        evaluation_judge_id=plan.evaluation_judge.id if plan.evaluation_judge else None,
        forked_from_id=forked_from_id,
    )
    session.add(run)
    session.flush()
    return run
