"""Rates whole trajectories by themselves, in both presentations, and measures how often they succeed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain

from pydantic import TypeAdapter

from app.db.models import CompletionSource, Split
from app.errors import NotFound
from app.repositories.completions import CompletionRow, completions_of
from app.repositories.prompts import PromptRow
from app.repositories.scores import ScoreRow, scores_of
from app.repositories.stages import keep_metrics
from app.repositories.verdicts import judge_usd_spent
from app.rlaif.comparison import Order
from app.rlaif.judges import JudgeSpec, style_of
from app.rlaif.pipeline import PhaseName
from app.rlaif.pointwise import PointQuestion
from app.rlaif.rendering import Response
from app.rlaif.resampling import Resampler
from app.rlaif.seeds import derive_seed
from app.rlaif.trajectories import TrajectoriesConfig
from app.rlaif.trajectory_evidence import TrajectoryMetrics
from app.rlaif.trajectory_success import Trial, success, trajectory_success
from app.services.delimiters import delimiter_key
from app.services.evaluators import resolved
from workers.stages.asking import put_all
from workers.stages.contract import StageContext, StageOutcome, StageRefused
from workers.stages.docket import case_of
from workers.stages.inputs import StageInputs, all_prompts, shard_prompts, stopped
from workers.stages.rate import Rater, Ratings
from workers.stages.sample import import_candidates

_SPEC: TypeAdapter[JudgeSpec] = TypeAdapter(JudgeSpec)


def run(context: StageContext) -> StageOutcome:
    """Raises GiveBack, BudgetReached, StageRefused."""
    inputs = StageInputs.load(context)
    match context.work.phase:
        case PhaseName.IMPORT:
            return import_candidates(context, inputs)
        case PhaseName.JUDGE:
            return rate_shard(context, inputs)
        case _:
            return measure(context, inputs)


def rate_shard(context: StageContext, inputs: StageInputs) -> StageOutcome:
    """Have one range of prompts' trajectories rated, where a rating is missing."""
    questions = _Questions(context, inputs, _rater(context, inputs))
    stream = iter(questions)
    first = next(stream, None)
    if first is not None:
        with context.read() as session:
            spent = judge_usd_spent(session, context.work.run_id)
        ledger = Ratings(context, questions.rater, spent=spent, on_stored=questions.report)
        put_all(context, questions.rater.judge, chain((first,), stream), ledger)
    if questions.cut:
        raise stopped(context)
    return StageOutcome(context.work.payload["limit"])


def measure(context: StageContext, inputs: StageInputs) -> StageOutcome:
    """Every figure over the whole set. Raises StageRefused when too many ratings are missing."""
    work, config, rater = context.work, _config(context), _rater(context, inputs)
    trials, rows = list[Trial](), list[ScoreRow]()
    for split in Split:
        for prompts in all_prompts(context, inputs.run.prompt_set_id, split=split):
            ratings = _stored(context, rater, found := _trajectories(context, prompts, split))
            rows += chain.from_iterable(ratings.values())
            trials += _trials(prompts, found, ratings, threshold=config.threshold)
    resampler = Resampler(derive_seed(work.recipe.seed, work.round, "trajectories"), config.bootstrap_samples)
    metrics = TrajectoryMetrics(
        **dict(trajectory_success(trials, resampler=resampler)),
        evaluator=rater.config.name,
        version=rater.evaluator.version,
        rubric_hash=rater.evaluator.rubric.content_hash(),
        judge_id=rater.judge.id,
        threshold=config.threshold,
        coverage=sum(row.points is not None for row in rows) / max(len(rows), 1),
    )
    figures = metrics.model_dump(mode="json")
    with context.transaction() as session:
        keep_metrics(session, work.stage_id, figures)  # a refusal's report shows what it was refused for
    _require_coverage(metrics, rater, floor=work.recipe.judge.minimum_coverage)
    return StageOutcome(len(trials), figures)


@dataclass
class _Questions:
    """The questions without a stored rating, made when the judge has room for them; none after a stop is asked for."""

    context: StageContext
    inputs: StageInputs
    rater: Rater
    cut: bool = field(default=False, init=False)
    _prompts: int = field(default=0, init=False)

    def report(self) -> None:
        """Tells how many of the shard's prompts have been asked about."""
        self.context.progress.report(self._prompts, self.context.work.payload["limit"], {})

    def __iter__(self) -> Iterator[PointQuestion]:
        with self.context.read() as session:
            key = delimiter_key(session, self.context.settings)
        split = Split(self.context.work.payload["split"])
        for prompts in shard_prompts(self.context, self.inputs.run.prompt_set_id):
            found = _trajectories(self.context, prompts, split)
            rated = {row.unit for rows in _stored(self.context, self.rater, found).values() for row in rows}
            for prompt in prompts:
                for question in self._of(prompt, found, key):
                    if question.unit in rated:
                        continue
                    if self.context.progress.should_stop():
                        self.cut = True
                        return
                    yield question
                self._prompts += 1

    def _of(self, prompt: PromptRow, found: Iterable[CompletionRow], key: bytes) -> Iterator[PointQuestion]:
        case = case_of(prompt, self.rater.evaluator.rubric, key=key)
        style = style_of(_SPEC.validate_python(self.rater.judge.spec))
        for row in found:
            if row.prompt_id == prompt.id:
                for order in Order:
                    yield PointQuestion(case, Response(row.messages), row.id, order, style=style)


def _rater(context: StageContext, inputs: StageInputs) -> Rater:
    config = _config(context).evaluator()
    with context.read() as session:
        try:
            evaluator = resolved(session, context.work.project_id, config)
        except NotFound as error:
            raise StageRefused(
                "no_evaluator", f"{error.detail}: start another run by a rubric that is there"
            ) from error
    return Rater(config, evaluator, inputs.evaluation_judge())


def _config(context: StageContext) -> TrajectoriesConfig:
    if (config := context.work.recipe.trajectories) is None:
        raise StageRefused("no_trajectories", "the recipe rates nothing: POST /v1/trajectory-evaluations again")
    return config


def _trajectories(context: StageContext, prompts: Sequence[PromptRow], split: Split) -> list[CompletionRow]:
    with context.read() as session:
        return completions_of(
            session,
            context.work.run_id,
            round_=context.work.round,
            split=split,
            sources=(CompletionSource.IMPORTED,),
            prompt_ids=[prompt.id for prompt in prompts],
        )


def _stored(context: StageContext, rater: Rater, found: Sequence[CompletionRow]) -> dict[str, list[ScoreRow]]:
    with context.read() as session:
        return scores_of(
            session,
            context.work.run_id,
            judge_ids=(rater.judge.id,),
            completion_ids=[row.id for row in found],
            evaluator=rater.config.name,
        )


def _trials(
    prompts: Sequence[PromptRow],
    found: Sequence[CompletionRow],
    ratings: dict[str, list[ScoreRow]],
    *,
    threshold: float,
) -> Iterator[Trial]:
    by_id = {prompt.id: prompt for prompt in prompts}
    for row in found:
        prompt = by_id[row.prompt_id]
        points = {rating.unit.order: rating.points for rating in ratings.get(row.id, ())}
        yield Trial(
            prompt=prompt.external_id,
            cohort=prompt.cohort,
            author=prompt.authors[row.position] if prompt.authors else None,
            succeeded=success([points.get(order) for order in Order], threshold=threshold),
            known=prompt.outcomes[row.position] if prompt.outcomes else None,
        )


def _require_coverage(metrics: TrajectoryMetrics, rater: Rater, *, floor: float) -> None:
    if metrics.coverage < floor:
        raise StageRefused(
            "coverage_below_floor",
            f"judge {rater.judge.name!r} gave {metrics.coverage:.1%} valid ratings, below the least share "
            f"{floor:.1%}: read the INVALID ones at /v1/runs/{{id}}/scores, retry the run to have asked again what the "
            "server or a timeout left open, or name a lower minimum_coverage or another judge",
        )
