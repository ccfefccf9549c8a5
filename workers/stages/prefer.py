"""Turns the verdicts on each comparison into what is believed of it, and counts everything that is not trained on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import Comparison, CompletionSource, Preference, Split
from app.repositories.completions import completions_of
from app.repositories.preferences import Signal, believed, believed_pairs, training_signal
from app.repositories.prompts import PromptRow
from app.repositories.run_inputs import members
from app.repositories.units import add_missing
from app.repositories.verdicts import verdicts_of
from app.rlaif.beliefs import lean
from app.rlaif.comparison import Order, Verdict
from app.rlaif.evidence import PreferenceMetrics
from app.rlaif.instruments import Cascade, Instrument
from app.rlaif.pair_quality import assess
from app.rlaif.preferences import TIE_MARGIN, DropReason, aggregate, identity
from app.rlaif.preferences import Preference as Belief
from app.rlaif.recipe import StageKind
from app.rlaif.sections import PreferConfig
from workers.stages.compare import Compared, compared, comparison_unit
from workers.stages.contract import StageContext, StageOutcome, StageRefused
from workers.stages.inputs import StageInputs, all_prompts, stop_if_asked
from workers.stages.judge import PURPOSES
from workers.stages.pairing import Pair
from workers.stages.panel import instrument_of, read_by
from workers.stages.people import people_provenance, with_people
from workers.stages.tokens import Tokenizer

IMPORTED = "import"
"""The judge's name in a belief that the client brought."""


def run(context: StageContext) -> StageOutcome:
    """Raises GiveBack, StageRefused."""
    inputs = StageInputs.load(context)
    tokenizer = Tokenizer.load(context, inputs.base_model().storage_key)
    done = 0
    for split in Split:
        for prompts in all_prompts(context, inputs.run.prompt_set_id, split=split):
            stop_if_asked(context)
            rows = _believe(context, inputs, prompts, split, tokenizer)
            with context.transaction() as session:
                add_missing(session, Preference, rows)
            done += len(prompts)
            context.progress.report(done, inputs.run.prompts, {})
    with context.read() as session:
        signal = training_signal(session, context.work.run_id, round_=context.work.round)
        metrics = _metrics(session, context, signal)
        pairs = believed_pairs(session, context.work.run_id, round_=context.work.round)
        quality = assess(pairs, seed=context.work.recipe.seed)
    _require_signal(signal, context.work.recipe.prefer)
    return StageOutcome(done, metrics.model_dump(mode="json") | {"pair_quality": quality.model_dump(mode="json")})


def _believe(
    context: StageContext, inputs: StageInputs, prompts: Sequence[PromptRow], split: Split, tokenizer: Tokenizer
) -> list[dict[str, Any]]:
    """The preference rows of some prompts' comparisons."""
    imports = context.work.recipe.prefer.source == "prompt_set"
    beliefs = _imported(context, inputs, prompts, split) if imports else _judged(context, inputs, prompts, split)
    heard = with_people(context, beliefs)
    max_length = context.work.recipe.prefer.max_length
    judge = inputs.judge_behind
    calibration = None if judge is None else read_by(judge, calibration=context.work.recipe.judge.calibration)
    return [
        _row(context, item, _checked(item, belief, tokenizer, max_length), split, calibration=calibration)
        for item, belief in heard
    ]


def _judged(
    context: StageContext, inputs: StageInputs, prompts: Sequence[PromptRow], split: Split
) -> list[tuple[Compared, Belief]]:
    """What the training judge's verdicts support."""
    run_id, round_ = inputs.behind[StageKind.JUDGE], context.work.round
    judge, recipe = inputs.judge_behind or inputs.training_judge(), context.work.recipe
    asked = [member.id for member in members(judge)]
    with context.read() as session:
        items = compared(session, run_id, round_=round_, purposes=(PURPOSES[split],), prompts=prompts)
        verdicts = verdicts_of(session, run_id, judge_ids=asked, comparison_ids=[item.row.id for item in items])
        instrument = instrument_of(session, judge, calibration=recipe.judge.calibration)
    given = ((item, [row.answered for row in verdicts.get(item.row.id, ())]) for item in items)
    return [
        (item, _put_aside(aggregate(answered, recipe.prefer, instrument=instrument), instrument))
        for item, answered in given
    ]


def _put_aside(belief: Belief, instrument: Instrument) -> Belief:
    """What a cascade leaves to people waits for them."""
    to_people = isinstance(instrument, Cascade) and instrument.then == "people"
    if to_people and belief.drop_reason is DropReason.UNDECIDED:
        return replace(belief, drop_reason=DropReason.AWAITS_PEOPLE)
    return belief


def _imported(
    context: StageContext, inputs: StageInputs, prompts: Sequence[PromptRow], split: Split
) -> list[tuple[Compared, Belief]]:
    """What the prompts' author believes, on comparisons made for it."""
    work = context.work
    units = list(_imported_units(context, inputs, prompts, split))
    with context.transaction() as session:
        add_missing(session, Comparison, units)
    with context.read() as session:
        items = compared(session, work.run_id, round_=work.round, purposes=(PURPOSES[split],), prompts=prompts)
    return [(item, _stated(item, work.recipe.prefer)) for item in items]


def _imported_units(
    context: StageContext, inputs: StageInputs, prompts: Sequence[PromptRow], split: Split
) -> Iterator[dict[str, Any]]:
    work = context.work
    with context.read() as session:
        candidates = completions_of(
            session,
            inputs.behind[StageKind.SAMPLE],
            round_=work.round,
            split=split,
            sources=(CompletionSource.IMPORTED,),
            prompt_ids=[prompt.id for prompt in prompts],
        )
    by_place = {(row.prompt_id, row.position): row for row in candidates}
    for prompt in prompts:
        for stated in prompt.preferences:
            pair = Pair(by_place[prompt.id, stated["first"]], by_place[prompt.id, stated["second"]])
            yield comparison_unit(work, pair, purpose=PURPOSES[split])


def _stated(item: Compared, config: PreferConfig) -> Belief:
    """An imported probability, weighed like one that a judge gave in both orders. The first statement counts."""
    probability = next(
        float(stated["probability"])
        for stated in item.prompt.preferences
        if (stated["first"], stated["second"]) == (item.first.position, item.second.position)
    )
    return aggregate([Verdict(IMPORTED, order, lean(probability), probability) for order in Order], config)


def _checked(item: Compared, belief: Belief, tokenizer: Tokenizer, max_length: int) -> Belief:
    """Pairs that are the same once they are cut teach nothing, whatever is believed of them."""
    prompt_tokens = item.first.prompt_tokens
    if prompt_tokens is None:
        prompt_tokens = tokenizer.count_prompt(item.prompt)
    first, second = tokenizer.encode(item.first.text), tokenizer.encode(item.second.text)
    same = identity(range(prompt_tokens), first, second, max_length=max_length)
    return replace(belief, weight=0.0, drop_reason=same) if same else belief


def _row(
    context: StageContext, item: Compared, belief: Belief, split: Split, *, calibration: str | None
) -> dict[str, Any]:
    work = context.work
    return {
        "id": new_id(Kind.PREFERENCE),
        "project_id": work.project_id,
        "run_id": work.run_id,
        "round": work.round,
        "comparison_id": item.row.id,
        "split": split,
        "probability": belief.probability,
        "weight": belief.weight,
        "drop_reason": belief.drop_reason,
        "provenance": _provenance(belief, work.recipe.prefer, calibration=calibration),
    }


def _provenance(belief: Belief, config: PreferConfig, *, calibration: str | None) -> dict[str, Any]:
    people = people_provenance(belief.blended, config.people) if belief.blended and config.people else None
    heard = {} if people is None else {"people": people}
    if belief.judges == (IMPORTED,):
        return {"imported": True, **heard}
    return {
        "judges": list(belief.judges),
        "answers": asdict(belief.answers),
        "consistent": belief.consistent,
        **({} if calibration is None else {"calibration": calibration}),
        **heard,
    }


def _metrics(session: Session, context: StageContext, signal: Signal) -> PreferenceMetrics:
    counts = believed(session, context.work.run_id, round_=context.work.round, tie_margin=TIE_MARGIN)
    return PreferenceMetrics(
        comparisons=counts.kept + sum(counts.dropped.values()),
        kept=counts.kept,
        comparisons_train=signal.comparisons,
        kept_train=signal.kept,
        dropped=counts.dropped,
        ties=counts.ties,
        mean_margin=counts.mean_margin,
    )


def _require_signal(signal: Signal, config: PreferConfig) -> None:
    """Raises StageRefused when training would have nothing to learn from."""
    if signal.kept == 0:
        raise StageRefused(
            "no_preferences",
            f"none of {signal.comparisons} train comparisons gives a preference to train on (dropped: "
            f"{signal.dropped}): {_remedy(signal, config)}",
        )
    if signal.decided == 0:
        raise StageRefused(
            "all_ties",
            f"all {signal.kept} preferences to train on are ties: the judge tells no completion from another; "
            "sharpen the rubric, change the judge or sample at a higher temperature",
        )


def _remedy(signal: Signal, config: PreferConfig) -> str:
    """What would have kept the most."""
    match max(signal.dropped, key=lambda reason: signal.dropped[reason], default=None):
        case DropReason.IDENTICAL_AFTER_TRUNCATION:
            return (
                f"raise prefer.max_length {config.max_length}: cut there with their prompts, completions are the same"
            )
        case DropReason.BELOW_MARGIN:
            return f"lower prefer.minimum_margin {config.minimum_margin}"
        case DropReason.INCONSISTENT:
            return "set prefer.inconsistent to keep, or change the judge: it contradicts itself when the order changes"
        case DropReason.UNDECIDED | DropReason.AWAITS_PEOPLE:
            return "allow the cascade a higher maximum_risk, end it with a stronger judge, or have people answer"
        case DropReason.NO_VALID_VERDICT:
            return "read the INVALID verdicts and mend or change the judge"
        case _:
            return "sample more completions, or more varied ones at a higher temperature"
