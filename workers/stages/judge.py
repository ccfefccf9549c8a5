"""Compares the completions of each prompt and has the run's judge answer every comparison in both orders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from app.db.models import Comparison, Purpose, Split
from app.repositories.completions import CompletionRow, completions_of
from app.repositories.prompts import PromptRow
from app.repositories.run_inputs import JudgeRow
from app.repositories.stages import keep_metrics
from app.repositories.units import add_missing
from app.rlaif.gates import explain, failed_by_judging
from app.rlaif.modes import Mode
from app.rlaif.pipeline import PhaseName
from app.rlaif.recipe import StageKind
from app.rlaif.rubric import Rubric
from app.rlaif.sections import JudgeConfig
from workers.stages.compare import Block, Compared, compared, comparison_unit
from workers.stages.contract import StageContext, StageOutcome, StageRefused
from workers.stages.docket import Docket
from workers.stages.inputs import StageInputs, candidate_source, shard_prompts
from workers.stages.instrument import Reading, all_readings, behaviour, require_coverage
from workers.stages.labels import labelled_places
from workers.stages.pairing import Pair, Pairing
from workers.stages.panel import asking, put

PURPOSES = {Split.TRAIN: Purpose.TRAIN, Split.HELD_OUT: Purpose.HELD_OUT}


def run(context: StageContext) -> StageOutcome:
    """Raises GiveBack, BudgetReached, StageRefused."""
    inputs = StageInputs.load(context)
    return measure(context, inputs) if context.work.phase is PhaseName.MEASURE else judge_shard(context, inputs)


def judge_shard(context: StageContext, inputs: StageInputs) -> StageOutcome:
    """Compare and ask for one range of prompts."""
    config = context.work.recipe.judge
    rubric = inputs.rubric()
    judge = inputs.training_judge()
    blocks = partial(_blocks, context, inputs, rubric)
    put(context, Docket(judge, rubric, blocks, config.repeats, config.mode), asking(context, judge))
    return StageOutcome(context.work.payload["limit"])


def measure(context: StageContext, inputs: StageInputs) -> StageOutcome:
    """How the judge behaved over the whole stage. Raises StageRefused when too many verdicts are missing."""
    judge = inputs.training_judge()
    readings = _readings(context, inputs, judge)
    metrics = behaviour(readings)
    each = {member.id: behaviour(_readings(context, inputs, member)) for member in judge.members}
    figures = metrics.model_dump(mode="json")
    if each:
        figures["members"] = {id_: behaved.model_dump(mode="json") for id_, behaved in each.items()}
    with context.transaction() as session:
        keep_metrics(session, context.work.stage_id, figures)  # a refusal's report shows what it was refused for
    require_coverage(metrics, floor=context.work.recipe.judge.minimum_coverage, judge=judge, part="judge")
    if failures := failed_by_judging(context.work.recipe.gates, metrics):
        raise StageRefused("gate_failed", explain(failures))
    return StageOutcome(len(readings), figures)


def _readings(context: StageContext, inputs: StageInputs, judge: JudgeRow) -> list[Reading]:
    """What a judge, or those whom it asks, answered in this stage."""
    run_id, round_ = context.work.run_id, context.work.round
    return [
        reading
        for purpose in PURPOSES.values()
        for reading in all_readings(context, inputs, run_id=run_id, judge=judge, purpose=purpose, round_=round_)
    ]


def _blocks(context: StageContext, inputs: StageInputs, rubric: Rubric) -> Iterator[Block]:
    for prompts in shard_prompts(context, inputs.run.prompt_set_id):
        yield Block.of(prompts, _compare(context, inputs, prompts, rubric))


def _compare(
    context: StageContext, inputs: StageInputs, prompts: Sequence[PromptRow], rubric: Rubric
) -> list[Compared]:
    """Make the comparisons that are missing and read all of them."""
    work = context.work
    purpose = PURPOSES[Split(work.payload["split"])]
    rows = list(_units(context, inputs, prompts, rubric))
    with context.transaction() as session:
        add_missing(session, Comparison, rows)
    with context.read() as session:
        return compared(session, work.run_id, round_=work.round, purposes=(purpose,), prompts=prompts)


def _units(
    context: StageContext, inputs: StageInputs, prompts: Sequence[PromptRow], rubric: Rubric
) -> Iterator[dict[str, Any]]:
    work = context.work
    split = Split(work.payload["split"])
    principles = _principles(rubric, work.recipe.judge)
    with context.read() as session:
        completions = completions_of(
            session,
            inputs.behind[StageKind.SAMPLE],
            round_=work.round,
            split=split,
            sources=(candidate_source(work.recipe),),
            prompt_ids=[prompt.id for prompt in prompts],
        )
    for prompt in prompts:
        pairing = Pairing(work.recipe.seed, (work.round, prompt.external_id))
        candidates = [completion for completion in completions if completion.prompt_id == prompt.id]
        for pair in _pairs(pairing, candidates, prompt, work.recipe.judge):
            together = work.recipe.judge.mode.groups
            principle = pairing.common_principle(principles) if together else pairing.principle(principles, pair)
            yield comparison_unit(work, pair, purpose=PURPOSES[split], principle=principle)


def _principles(rubric: Rubric, config: JudgeConfig) -> Sequence[str]:
    """Those that a comparison draws from."""
    return rubric.principles if config.principle is None else rubric.principles[config.principle - 1 : config.principle]


def _pairs(
    pairing: Pairing,
    candidates: Sequence[CompletionRow],
    prompt: PromptRow,
    config: JudgeConfig,
) -> list[Pair]:
    if config.mode is Mode.LISTWISE:
        return pairing.grouped(candidates)
    if config.pairs == "labelled":
        return pairing.labelled(candidates, labelled_places(prompt))
    return pairing.pairs(candidates, config.pairs)
