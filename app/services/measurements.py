"""Runs that ask a judge about candidates at hand and train nothing: calibrations and trials."""

from __future__ import annotations

from app.db.models import Judge, PromptSet, RubricRevision, Run, RunKind
from app.db.session import WriteSession
from app.rlaif.recipe import Recipe
from app.services import engine, run_rules
from app.services.run_plan import Plan
from app.services.run_rows import insert_run


def create(
    session: WriteSession,
    project_id: str,
    *,
    kind: RunKind,
    name: str,
    recipe: Recipe,
    rubric: RubricRevision,
    prompt_set: PromptSet,
    judge: Judge,
) -> Run:
    """A started run. The recipe has sample.source 'prompt_set', and stops after 'judge' or 'calibrate'.

    Prompts that come with one request are made a set by prompt_sets.create(..., listed=False). Raises RunRefused.
    """
    plan = Plan(recipe, rubric, prompt_set, None, judge, None)
    run_rules.require_measurable(session, plan)
    run = insert_run(session, project_id, name, plan, kind=kind, forked_from_id=None)
    engine.start_run(session, run)
    return run
