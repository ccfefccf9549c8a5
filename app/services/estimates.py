"""Estimates: a run's parts are made as for a run, counted, and rolled back with the transaction by whoever asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from app.config import Settings
from app.db.models import Judge, Split
from app.db.session import WriteSession
from app.repositories import endpoints
from app.repositories.endpoints import Place
from app.repositories.paces import PastStage, past_judging, past_stage
from app.repositories.prompts import PromptRow, prompts_after
from app.repositories.run_inputs import asked_ids
from app.rlaif import estimate
from app.rlaif.estimate import Estimate, JudgeEstimate, Lengths, Pace, Span, StageEstimate
from app.rlaif.evaluator import EvaluatorConfig
from app.rlaif.judges import CascadeJudge, JudgeSpec, RemoteJudge, style_of
from app.rlaif.limits import endpoint_key
from app.rlaif.modes import Mode
from app.rlaif.online_policy import OnlinePolicyConfig
from app.rlaif.prices import PriceTable, tariff_of
from app.rlaif.question_lengths import overhead
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.rubric import Criterion, Rubric
from app.rlaif.sweep import candidates, evaluated
from app.rlaif.training import PolicyConfig
from app.rlaif.warm_start import written
from app.rlaif.workload import (
    Asked,
    PromptFacts,
    asked_as_reward,
    asked_by_evaluator,
    asked_in_evaluation,
    asked_in_looks,
    asked_in_training,
    sampled,
)
from app.schemas.run import RunIn
from app.services import runs
from app.services.evaluators import resolved
from app.services.models import PublishedModel
from app.services.prices import price_table
from app.services.run_plan import Plan
from app.services.stage_pace import at_pace, drawn, work

NOTHING_READ = Lengths(0.0, estimate.ZERO)
CHARACTERS_A_TOKEN = 4.0
TURN_CHARACTERS = 60
_BLOCK = 500
_SPEC: TypeAdapter[JudgeSpec] = TypeAdapter(JudgeSpec)


def get(
    session: WriteSession, project_id: str, request: RunIn, *, published: PublishedModel | None, settings: Settings
) -> Estimate:
    """What the run would take. The caller rolls back. Raises what creating the run raises, but for its files."""
    prices = price_table(settings)
    plan, fork = runs.planned(session, project_id, request, published=published, store=None, prices=prices)
    recipe, reused = plan.recipe, {stage.kind for stage in fork.reused} if fork else set()
    stages = _Stages(session, project_id, plan, prices)
    known = {kind: stages.of(kind) for kind in recipe.stages() if recipe.rounds or kind not in reused}
    first = [found for kind, found in known.items() if kind not in reused]
    later = range(1, recipe.rounds.count if recipe.rounds else 1)
    repeated = [estimate.in_round(known[kind], round_) for round_ in later for kind in recipe.stages_of(round_)]
    return estimate.whole([*first, *repeated], limit_usd=recipe.budget.judge_usd)


class _Stages:
    """Estimates each stage of one plan."""

    def __init__(self, session: Session, project_id: str, plan: Plan, prices: PriceTable) -> None:
        self._session = session
        self._project_id = project_id
        self._plan = plan
        self._prices = prices

    def of(self, kind: StageKind) -> StageEstimate:
        match kind:
            case StageKind.WARM_START:
                return self._warm_start()
            case StageKind.SAMPLE:
                return self._sampling()
            case StageKind.JUDGE:
                asked = asked_in_training(self._prompts(), self._plan.recipe, sampled_length=self._sampled_length())
                return self._judging(kind, self._plan.judge, asked, drawn=None)
            case StageKind.EVALUATE:
                return self._evaluation()
            case StageKind.POLICY:
                return estimate.together([self._trained(one) for one in candidates(self._plan.recipe)])
            case _:
                return self._other(kind)

    def _evaluation(self) -> StageEstimate:
        """Sampling, the comparisons, and what the evaluators ask; capability tasks are named and take time unknown."""
        recipe, length = self._plan.recipe, self._sampled_length()
        asked = asked_in_evaluation(self._prompts(), recipe, sampled_length=length)
        drawn = self._plan.prompt_set.held_out_count * recipe.evaluate.completions * len(evaluated(recipe))
        found = self._judging(StageKind.EVALUATE, self._plan.evaluation_judge, asked, drawn=drawn)
        judges = [each for config in recipe.evaluate.evaluators or () for each in self._evaluator(config)]
        seconds = estimate.total([found.seconds, *(each.seconds for each in judges)])
        notes = [f"task {name!r}: its time is not in the seconds" for name in recipe.evaluate.tasks or ()]
        update = {"judges": [*found.judges, *judges], "seconds": seconds, "notes": [*found.notes, *notes]}
        return found.model_copy(update=update)

    def _evaluator(self, config: EvaluatorConfig) -> list[JudgeEstimate]:
        judge = self._plan.evaluation_judge if config.judge is None else self._session.get_one(Judge, config.judge)
        if judge is None:
            return []
        rubric = resolved(self._session, self._project_id, config).rubric
        asked = asked_by_evaluator(self._prompts(), self._plan.recipe, sampled_length=self._sampled_length())
        found = self._judge(judge, asked, mode=Mode.POINTWISE, optional=False, rubric=rubric)
        return [found.model_copy(update={"notes": [f"evaluator {config.name!r}", *found.notes]})]

    def _trained(self, recipe: Recipe) -> StageEstimate:
        """One candidate, as a run of its own recipe."""
        plan = replace(self._plan, recipe=recipe)
        return _Stages(self._session, self._project_id, plan, self._prices)._policy()

    def _warm_start(self) -> StageEstimate:
        """At the pace of the newest one by the same method: revising takes its time with what is written."""
        config, prompts, past = self._plan.recipe.warm_start, self._plan.prompt_set, self._past(StageKind.WARM_START)
        alike = past is not None and type(past.recipe.warm_start) is type(config)
        found = self._other(StageKind.WARM_START) if alike else _unknown(StageKind.WARM_START, None)
        units = written(config, prompts=prompts.train_count + prompts.held_out_count)
        return found.model_copy(update={"units": units})

    def _sampling(self) -> StageEstimate:
        recipe, evaluates = self._plan.recipe, self._plan.evaluates
        count = sampled(self._prompts(), recipe, evaluates=evaluates)
        seconds, note = self._sampling_time(count)
        return _stage(StageKind.SAMPLE, seconds, [note], units=count)

    def _judging(self, kind: StageKind, judge: Judge | None, asked: Asked, *, drawn: int | None) -> StageEstimate:
        mode = self._plan.recipe.judge.mode if kind is StageKind.JUDGE else Mode.PAIRWISE
        judges = [] if judge is None else self._judges(judge, asked, mode)
        seconds, notes = estimate.total([each.seconds for each in judges]), []
        if drawn is not None:
            sampling, note = self._sampling_time(drawn)
            seconds, notes = estimate.total([seconds, sampling]), [note]
        return _stage(kind, seconds, notes, units=drawn, judges=judges)

    def _judges(self, judge: Judge, asked: Asked, mode: Mode) -> list[JudgeEstimate]:
        cascade = isinstance(_SPEC.validate_python(judge.spec), CascadeJudge)
        ids = asked_ids(self._session, judge.id)
        return [
            self._judge(
                self._session.get_one(Judge, id_),
                asked,
                mode=mode,
                optional=cascade and place > 0,
                rubric=self._rubric(),
            )
            for place, id_ in enumerate(ids)
        ]

    def _judge(self, judge: Judge, asked: Asked, *, mode: Mode, optional: bool, rubric: Rubric) -> JudgeEstimate:
        spec = _SPEC.validate_python(judge.spec)
        past = past_judging(self._session, self._project_id, judge.id)
        characters = overhead(rubric, mode, style_of(spec))
        if isinstance(spec, RemoteJudge):
            pace = Pace(spec.max_concurrency, past.latency_s, self._endpoint_pace(spec))
            usual = min(spec.max_tokens, 8.0) if past.completion_tokens is None else past.completion_tokens
            lengths = Lengths(characters, Span(low=min(1.0, usual), expected=usual, high=float(spec.max_tokens)))
        else:
            pace, lengths = Pace(1, past.seconds_a_call, None), Lengths(characters, estimate.ZERO)
            if judge.kind != "local":
                asked, lengths = replace(asked, prompt_characters=0, response_characters=0.0), NOTHING_READ
        return estimate.judge_estimate(
            asked,
            judge_id=judge.id,
            name=judge.name,
            lengths=lengths,
            tariff=tariff_of(spec, self._prices),
            pace=pace,
            optional=optional,
        )

    def _endpoint_pace(self, spec: RemoteJudge) -> float | None:
        """Calls a second that the endpoint bears, as it is stated or as the workers have learned."""
        place = Place(self._project_id, endpoint_key(spec.base_url, spec.model, spec.secret))
        shared = endpoints.read(self._session, place)
        learned = None if shared is None or shared.rate is None else shared.rate.value
        stated = None if spec.requests_per_minute is None else spec.requests_per_minute / 60.0
        return min((rate for rate in (learned, stated) if rate is not None), default=None)

    def _policy(self) -> StageEstimate:
        """Training, and what judges that are models are asked about the policy's answers: to reward, and to look."""
        policy, past = self._plan.recipe.policy, self._past(StageKind.POLICY)
        alike = past is not None and type(past.recipe.policy) is type(policy)  # what is counted differs otherwise
        trained = self._other(StageKind.POLICY) if alike else _unknown(StageKind.POLICY, None)
        if isinstance(policy, PolicyConfig):
            return trained
        length = TURN_CHARACTERS + policy.max_new_tokens * CHARACTERS_A_TOKEN / 2
        rewarding, looking = self._rewarding(policy, length), self._looking(policy, length)
        heard = past is not None and past.recipe.rewards_by_judge()  # its pace has the waiting for its judge in it
        waiting = [each.seconds for each in ([] if heard else rewarding) + looking]
        seconds = estimate.total([trained.seconds, *waiting])
        return trained.model_copy(update={"judges": rewarding + looking, "seconds": seconds})

    def _rewarding(self, policy: OnlinePolicyConfig, length: float) -> list[JudgeEstimate]:
        judge = self._plan.judge
        if not policy.reward.judge or judge is None or judge.kind == "checks":
            return []
        asked = asked_as_reward(self._prompts(), policy, answer_length=length)
        return self._judges(judge, asked, Mode.POINTWISE)

    def _looking(self, policy: OnlinePolicyConfig, length: float) -> list[JudgeEstimate]:
        judge = self._plan.evaluation_judge
        if not policy.health.judge_every or judge is None or judge.kind == "checks":
            return []
        return self._judges(judge, asked_in_looks(self._prompts(), policy, answer_length=length), Mode.POINTWISE)

    def _other(self, kind: StageKind) -> StageEstimate:
        """Preferences and training, at the pace of the newest such stage."""
        past = self._past(kind)
        if past is None:
            return _unknown(kind, None)
        amount = work(self._plan.recipe, kind, self._plan.prompt_set.train_count)
        done = work(past.recipe, kind, past.train_prompts)
        seconds, note = at_pace(past, past.seconds * amount / max(done, 1))
        return _stage(kind, seconds, [note])

    def _sampling_time(self, count: int) -> tuple[Span | None, str]:
        if count == 0:
            return estimate.ZERO, "nothing is sampled"
        past = self._past(StageKind.SAMPLE)
        if past is None or not (before := drawn(past)):
            return None, _UNKNOWN
        return at_pace(past, past.seconds * count / before)

    def _past(self, kind: StageKind) -> PastStage | None:
        model = self._plan.base_model
        return None if model is None else past_stage(self._session, self._project_id, kind, base_model_id=model.id)

    def _rubric(self) -> Rubric:
        return Rubric.model_validate(self._plan.rubric.content) if self._plan.rubric else Rubric(criteria=())

    def _sampled_length(self) -> float:
        """Characters of a completion that is yet to be sampled: half of what it may have."""
        return self._plan.recipe.sample.max_new_tokens * CHARACTERS_A_TOKEN / 2

    def _prompts(self) -> Iterator[PromptFacts]:
        rubric = self._rubric()
        for split in Split:
            position = -1
            while block := prompts_after(
                self._session, self._plan.prompt_set.id, split=split, position=position, limit=_BLOCK
            ):
                yield from (_facts(row, rubric) for row in block)
                position = block[-1].position


_UNKNOWN = "no past run of this project with this base model tells how long it takes"


def _facts(row: PromptRow, rubric: Rubric) -> PromptFacts:
    texts = [_text(candidate) for candidate in row.candidates]
    numbers = {text: number for number, text in enumerate(dict.fromkeys(texts))}
    own = rubric.with_criteria(tuple(Criterion.model_validate(criterion) for criterion in row.criteria))
    return PromptFacts(
        held_out=row.split is Split.HELD_OUT,
        length=sum(len(json.dumps(part)) for part in (row.messages, row.tools, row.reference) if part),
        criteria=len(own.criteria),
        candidates=tuple(numbers[text] for text in texts),
        candidate_length=TURN_CHARACTERS + sum(map(len, texts)) / max(len(texts), 1),
        labelled=frozenset((each["first"], each["second"]) for each in (*row.preferences, *row.annotations)),
    )


def _text(candidate: Any) -> str:
    """A trajectory's turns as they are shown."""
    return candidate if isinstance(candidate, str) else json.dumps(candidate)


def _unknown(kind: StageKind, units: int | None) -> StageEstimate:
    return _stage(kind, None, [_UNKNOWN], units=units)


def _stage(
    kind: StageKind,
    seconds: Span | None,
    notes: list[str],
    *,
    units: int | None = None,
    judges: Sequence[JudgeEstimate] = (),
) -> StageEstimate:
    """Of the first round."""
    return StageEstimate(round=0, stage=kind, units=units, judges=list(judges), seconds=seconds, notes=notes)
