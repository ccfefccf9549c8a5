"""Evaluators in an evaluation: every answer that is compared is rated by itself, in both presentations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain
from typing import Any

from pydantic import TypeAdapter

from app.errors import NotFound
from app.repositories.run_inputs import JudgeRow, judge_row
from app.repositories.scores import ScoreRow, scores_of
from app.repositories.verdicts import judge_usd_spent
from app.rlaif.comparison import Order
from app.rlaif.evaluator import Evaluator, EvaluatorConfig, EvaluatorResult, RatedPair, evaluator_figure
from app.rlaif.judges import JudgeSpec, style_of
from app.rlaif.messages import Message
from app.rlaif.pointwise import PointQuestion
from app.rlaif.rendering import Case, Response
from app.rlaif.resampling import Resampler
from app.rlaif.seeds import derive_seed
from app.services.delimiters import delimiter_key
from app.services.evaluators import resolved
from workers.judges.protocol import JudgedScore
from workers.stages.asking import put_all, unstored_at_most
from workers.stages.contract import StageContext, StageRefused
from workers.stages.divergence import Match
from workers.stages.inputs import StageInputs, stopped
from workers.stages.ledger import Ledger

_SPEC: TypeAdapter[JudgeSpec] = TypeAdapter(JudgeSpec)


@dataclass(frozen=True, slots=True)
class Rater:
    """An evaluator of the recipe, with its rubric and who rates by it."""

    config: EvaluatorConfig
    evaluator: Evaluator
    judge: JudgeRow


@dataclass(frozen=True, slots=True)
class Met:
    """The ids of a policy answer and of the base answer that it meets."""

    prompt: str
    cohort: str
    policy: str
    base: str


def raters(context: StageContext, inputs: StageInputs) -> list[Rater]:
    """The evaluators that the recipe names. Raises StageRefused."""
    work = context.work
    found = []
    for config in work.recipe.evaluate.evaluators or ():
        with context.read() as session:
            try:
                evaluator = resolved(session, work.project_id, config)
            except NotFound as error:
                raise StageRefused("no_evaluator", f"{error.detail}: start another run without it") from error
            judge = inputs.evaluation_judge() if config.judge is None else judge_row(session, config.judge)
        found.append(Rater(config, evaluator, judge))
    return found


def rate(context: StageContext, inputs: StageInputs, blocks: Callable[[], Iterator[Sequence[Match]]]) -> None:
    """Rate what has no rating yet, evaluator by evaluator. Raises GiveBack, BudgetReached, StageRefused."""
    for rater in raters(context, inputs):
        questions = _Questions(context, rater, blocks)
        stream = iter(questions)
        first = next(stream, None)
        if first is not None:
            with context.read() as session:
                spent = judge_usd_spent(session, context.work.run_id)
            ledger = Ratings(context, rater, spent=spent, on_stored=lambda: None)
            put_all(context, rater.judge, chain((first,), stream), ledger)
        if questions.cut:
            raise stopped(context)


def evaluator_results(context: StageContext, inputs: StageInputs, pairs: Sequence[Met]) -> dict[str, EvaluatorResult]:
    """What each evaluator says of one policy, by its name."""
    return {rater.config.name: _result(context, rater, pairs) for rater in raters(context, inputs)}


class Ratings(Ledger):
    """Ratings by an evaluator, beside those by the run's own rubric."""

    def __init__(self, context: StageContext, rater: Rater, *, spent: Decimal, on_stored: Callable[[], None]) -> None:
        at_most = unstored_at_most(rater.judge)
        super().__init__(context, rater.judge.id, spent=spent, on_stored=on_stored, unstored_at_most=at_most)
        self._evaluator = rater.config.name

    def _score(self, id_: str, answer: JudgedScore) -> dict[str, Any]:
        return {**super()._score(id_, answer), "evaluator": self._evaluator}


@dataclass
class _Questions:
    """The questions without a stored rating, made when the judge has room for them; none after a stop is asked for."""

    context: StageContext
    rater: Rater
    blocks: Callable[[], Iterator[Sequence[Match]]]
    cut: bool = field(default=False, init=False)

    def __iter__(self) -> Iterator[PointQuestion]:
        with self.context.read() as session:
            key = delimiter_key(session, self.context.settings)
        for matches in self.blocks():
            admitted = [match for match in matches if self._admits(match)]
            stored = _ratings(
                self.context, self.rater, [row.id for match in admitted for row in (match.policy, match.base)]
            )
            for match in admitted:
                for question in self._of(match, key):
                    rated = {row.unit.order for row in stored.get(question.completion_id, ())}
                    if question.order in rated:
                        continue
                    if self.context.progress.should_stop():
                        self.cut = True
                        return
                    yield question

    def _admits(self, match: Match) -> bool:
        needs = self.rater.evaluator.needs
        return needs is None or needs.is_met(match.prompt.messages, match.prompt.reference)

    def _of(self, match: Match, key: bytes) -> Iterator[PointQuestion]:
        case = Case(
            prompt=tuple(Message.model_validate(message) for message in match.prompt.messages),
            rubric=self.rater.evaluator.rubric,
            key=key,
            prompt_id=match.prompt.external_id,
            reference=match.prompt.reference,
            tools=match.prompt.tools,
        )
        style = style_of(_SPEC.validate_python(self.rater.judge.spec))
        for row in (match.policy, match.base):
            response = Response(row.messages)
            for order in Order:
                yield PointQuestion(case, response, row.id, order, style=style)


def _ratings(context: StageContext, rater: Rater, completion_ids: Sequence[str]) -> dict[str, list[ScoreRow]]:
    with context.read() as session:
        return scores_of(
            session,
            context.work.run_id,
            judge_ids=(rater.judge.id,),
            completion_ids=completion_ids,
            evaluator=rater.config.name,
        )


def _result(context: StageContext, rater: Rater, pairs: Sequence[Met]) -> EvaluatorResult:
    ratings = _ratings(context, rater, [id_ for pair in pairs for id_ in (pair.policy, pair.base)])
    rows = [row for found in ratings.values() for row in found]
    asked = [pair for pair in pairs if pair.policy in ratings and pair.base in ratings]
    by_cohort: dict[str, list[RatedPair]] = defaultdict(list)
    for pair in asked:
        policy, base = (_points(ratings[id_]) for id_ in (pair.policy, pair.base))
        by_cohort[pair.cohort].append(RatedPair(pair.prompt, pair.cohort, policy, base))
    work, threshold = context.work, rater.config.threshold
    seed = derive_seed(work.recipe.seed, work.round, "evaluator", rater.config.name)
    resampler = Resampler(seed, work.recipe.evaluate.bootstrap_samples)
    figures = {
        cohort: evaluator_figure(rated, threshold=threshold, resampler=resampler)
        for cohort, rated in sorted(by_cohort.items())
    }
    everything = [pair for rated in by_cohort.values() for pair in rated]
    return EvaluatorResult(
        version=rater.evaluator.version,
        rubric_hash=rater.evaluator.rubric.content_hash(),
        judge_id=rater.judge.id,
        threshold=threshold,
        overall=evaluator_figure(everything, threshold=threshold, resampler=resampler),
        by_cohort={cohort: figure for cohort, figure in figures.items() if figure is not None},
        coverage=sum(row.points is not None for row in rows) / len(rows) if rows else None,
        left_out=len(pairs) - len(asked),
    )


def _points(rows: Sequence[ScoreRow]) -> float | None:
    """The mean over both presentations; None where one of them is missing."""
    known = [row.points for row in rows if row.points is not None]
    return sum(known) / len(known) if len(known) == len(Order) else None
