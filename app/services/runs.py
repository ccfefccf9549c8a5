"""Runs: made, read, and steered. The engine makes the transitions; here it is checked that a run makes sense."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy.orm import Session

from app.db.models import Event, MetricPoint, Run, RunKind, RunStatus, Stage
from app.db.session import WriteSession
from app.errors import BadRequest, Conflict, InvalidInput, NotFound
from app.repositories import runs
from app.repositories.pages import Chunk, Slice
from app.repositories.results import Provenance
from app.repositories.runs import RunMark, RunRow
from app.rlaif.prices import PriceTable
from app.rlaif.recipe import Budget, Recipe, StageKind
from app.schemas.run import RunIn
from app.services import engine, forks, gates, round_rules, run_parts, run_rules, sweep_rules
from app.services.models import PublishedModel
from app.services.run_plan import Plan, RunRefused
from app.services.run_rows import insert_run
from app.storage import ArtifactStore

CLIENT_PAUSE = "asked for by the client"


class PartMissing(InvalidInput):
    """Raised when a run that is no fork lacks its prompt set or base model."""


class BudgetSpent(Conflict):
    """Raised when a run is resumed whose limit would pause it again at once."""


_BEFORE_ALL = (0, -1)
"""A candidate and a step before the first."""
_MOST_CANDIDATE, _MOST_STEP = 2**15 - 1, 2**31 - 1
"""What their columns hold."""

_OF_OTHER_ROUTES = {
    "calibrate": ("calibrates its judge", "/v1/calibrations"),
    "score": ("scores", "/v1/checkpoints/{id}/scores"),
    "trajectories": ("measures trajectories", "/v1/trajectory-evaluations"),
    "measure": ("measures without training", "/v1/evaluations"),
}


@dataclass(frozen=True, slots=True)
class News:
    """What happened to a run after some event, and how the run stood when that was asked."""

    status: RunStatus
    events: tuple[Event, ...]


@dataclass(frozen=True, slots=True)
class StepMetrics:
    """One point and the stage that made it."""

    stage: Stage
    point: MetricPoint


def create(
    session: WriteSession,
    project_id: str,
    request: RunIn,
    *,
    published: PublishedModel | None,
    store: ArtifactStore,
    prices: PriceTable,
    fork_round: int = 0,
) -> RunRow:
    """A queued run with its stages, and its first shards rung for. `published` comes from run_parts.prepare.

    Raises what `planned` raises.
    """
    plan, fork = planned(
        session, project_id, request, published=published, store=store, prices=prices, fork_round=fork_round
    )
    run = insert_run(
        session, project_id, request.name, plan, kind=RunKind.PIPELINE, forked_from_id=fork.source.id if fork else None
    )
    if fork is not None:
        _require_judged(fork, plan.recipe)
        forks.add_reused_stages(session, fork, run)
    engine.start_run(session, run)
    return get(session, project_id, run.id)


def planned(
    session: WriteSession,
    project_id: str,
    request: RunIn,
    *,
    published: PublishedModel | None,
    store: ArtifactStore | None,
    prices: PriceTable,
    fork_round: int = 0,
) -> tuple[Plan, forks.Fork | None]:
    """What a run would be made of, sound as far as can be known before it runs.

    Without `store` the base model's files are not looked into. A fork goes on in round `fork_round`. Raises NotFound,
    ContentDiffers, PartMissing, ForkRefused, StageNotFinished, RoundsRefused, SweepRefused, RunRefused,
    CircularEvaluation, and what gates.require_calibrated raises.
    """
    parts = run_parts.resolve(session, project_id, request, published)
    fork = forks.open_fork(session, project_id, request.fork, round_=fork_round) if request.fork else None
    recipe = request.recipe
    _require_pipeline(recipe)
    if fork is not None:
        parts = forks.inherited(session, fork, parts)
        recipe = forks.merged_recipe(session, fork, request.recipe)
    round_rules.require_repeatable(recipe)
    if parts.prompt_set is None or parts.base_model is None:
        field = "prompt_set" if parts.prompt_set is None else "base_model"
        raise PartMissing(f"a run that is no fork needs a {field}: name one or send one inline", field=field)
    trains = not any(stage.kind is StageKind.POLICY for stage in (fork.reused if fork else ()))
    sweep_rules.require_selectable(recipe, parts.prompt_set, trains=trains)
    plan = Plan(recipe, parts.rubric, parts.prompt_set, parts.base_model, parts.judge, parts.evaluation_judge)
    run_rules.require_sound(
        session,
        store,
        plan,
        allow_circular=request.allow_circular_evaluation,
        allow_same_family=request.allow_same_family,
    )
    run_rules.require_priced(session, plan, prices)
    gates.require_calibrated(
        session,
        project_id,
        recipe,
        rubric=plan.rubric,
        prompt_set=plan.prompt_set,
        judge=plan.judge,
        evaluation_judge=plan.evaluation_judge,
    )
    return plan, fork


def _require_judged(fork: forks.Fork, recipe: Recipe) -> None:
    """The recipe's gates hold of verdicts that are reused, too."""
    for stage in fork.reused:
        if stage.kind is StageKind.JUDGE:
            gates.require_judged(recipe.gates, stage.metrics)


def _require_pipeline(recipe: Recipe) -> None:
    """What other routes set of a recipe, they alone check: their ids may be another project's."""
    for name, (does, route) in _OF_OTHER_ROUTES.items():
        if getattr(recipe, name) is not None:
            raise RunRefused(
                f"a run that {does} is made by POST {route}: leave recipe.{name} out", field=f"recipe.{name}"
            )


def get(session: Session, project_id: str, run_id: str) -> RunRow:
    """The run with its stages. Raises NotFound."""
    if (row := runs.find(session, project_id, run_id)) is None:
        raise NotFound.of("run", run_id)
    return row


def mark(session: Session, project_id: str, run_id: str) -> RunMark:
    """Version and status alone. Raises NotFound."""
    if (found := runs.mark(session, project_id, run_id)) is None:
        raise NotFound.of("run", run_id)
    return found


def page(
    session: Session, project_id: str, slice_: Slice, *, kind: RunKind, statuses: Collection[RunStatus]
) -> Chunk[Run]:
    return runs.page(session, project_id, slice_, kind=kind, statuses=statuses)


def provenance(session: Session, project_id: str, run_id: str) -> Provenance:
    """Which runs a run's results are read from. Raises NotFound."""
    mark(session, project_id, run_id)
    return Provenance(run_id, runs.sources(session, run_id))


def cancel(session: WriteSession, project_id: str, run_id: str) -> RunRow:
    """Raises NotFound, Conflict."""
    engine.request_cancel(session, _locked(session, project_id, run_id))
    return get(session, project_id, run_id)


def pause(session: WriteSession, project_id: str, run_id: str) -> RunRow:
    """Raises NotFound, Conflict."""
    engine.request_pause(session, _locked(session, project_id, run_id), CLIENT_PAUSE)
    return get(session, project_id, run_id)


def resume(session: WriteSession, project_id: str, run_id: str, *, budget: Budget | None) -> RunRow:
    """Raises NotFound, Conflict, BudgetSpent."""
    run = _locked(session, project_id, run_id)
    engine.resume(session, run)
    recipe = Recipe.model_validate(run.recipe)
    limits = recipe.budget.model_dump() | (budget.model_dump(exclude_unset=True) if budget else {})
    _require_money(session, run_id, limits)
    run.recipe = recipe.model_copy(update={"budget": Budget(**limits)}).model_dump(mode="json")
    return get(session, project_id, run_id)


def _require_money(session: Session, run_id: str, limits: dict[str, float | None]) -> None:
    stages = runs.stages(session, run_id)
    for name, limit in limits.items():
        spent = float(sum(getattr(stage, name) for stage in stages))
        if limit is not None and spent >= limit:
            raise BudgetSpent(
                f"run {run_id!r} has spent {spent:g} of budget.{name} {limit:g}: resume with a higher "
                f'limit, {{"budget": {{"{name}": ...}}}}',
                field=f"budget.{name}",
            )


def retry(session: WriteSession, project_id: str, run_id: str) -> RunRow:
    """Raises NotFound, Conflict."""
    engine.retry(session, _locked(session, project_id, run_id))
    return get(session, project_id, run_id)


def _locked(session: WriteSession, project_id: str, run_id: str) -> Run:
    if (run := runs.locked(session, project_id, run_id)) is None:
        raise NotFound.of("run", run_id)
    return run


def news(session: Session, project_id: str, run_id: str, *, after: int, limit: int) -> News:
    """At most `limit` events behind `after`. Raises NotFound.

    The status is read first: whoever sees a terminal one has its event among these or behind them.
    """
    status = mark(session, project_id, run_id).status
    return News(status, tuple(runs.events(session, run_id, after=after, limit=limit)))


def event_page(session: Session, project_id: str, run_id: str, slice_: Slice) -> Chunk[Event]:
    """In the order in which they happened. Raises NotFound, BadRequest."""
    after = _number(slice_.after) if slice_.after is not None else 0
    found = news(session, project_id, run_id, after=after, limit=slice_.limit + 1).events
    kept = found[: slice_.limit]
    return Chunk(kept, len(found) > slice_.limit, str(kept[-1].id) if kept else None)


def metric_page(session: Session, project_id: str, run_id: str, slice_: Slice) -> Chunk[StepMetrics]:
    """By stage, candidate and step, a reused stage's from the run that executed it. Raises NotFound, BadRequest."""
    wanted = slice_.limit + 1
    stages = executed_stages(session, provenance(session, project_id, run_id))
    begin, place = _metric_key(slice_.after, stages) if slice_.after is not None else (0, _BEFORE_ALL)
    found: list[StepMetrics] = []
    for stage in stages[begin:]:
        points = runs.metric_points(session, stage.id, after=place, limit=wanted - len(found))
        found += [StepMetrics(stage, point) for point in points]
        if len(found) == wanted:
            break
        place = _BEFORE_ALL
    kept = tuple(found[: slice_.limit])
    last = f"{kept[-1].stage.id} {kept[-1].point.candidate} {kept[-1].point.step}" if kept else None
    return Chunk(kept, len(found) > slice_.limit, last)


def executed_stages(session: Session, provenance: Provenance) -> list[Stage]:
    """The run's stages in order; for a reused one, that of the run that executed it."""
    own = runs.stages(session, provenance.run_id)
    elsewhere = {source: runs.stages(session, source) for source in set(provenance.reused.values())}
    return [
        next(
            other for other in elsewhere[stage.source_run_id] if (other.round, other.kind) == (stage.round, stage.kind)
        )
        if stage.source_run_id is not None
        else stage
        for stage in own
    ]


def _metric_key(after: str, stages: list[Stage]) -> tuple[int, tuple[int, int]]:
    stage_id, _, place = after.partition(" ")
    candidate, _, step = place.partition(" ")
    index = next((index for index, stage in enumerate(stages) if stage.id == stage_id), None)
    if index is None:
        raise BadRequest("`after` is not a cursor of this list: start without it", field="after")
    return index, (_number(candidate, most=_MOST_CANDIDATE), _number(step, most=_MOST_STEP))


def _number(text: str, *, most: int = 10**18) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text) <= most):
        raise BadRequest("`after` is not a cursor of this list: start without it", field="after")
    return int(text)
