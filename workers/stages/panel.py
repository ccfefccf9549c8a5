"""Puts a docket to whoever a judge asks: itself, each member of a panel, or step after step of a cascade."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from app.repositories.calibrations import fitted_by
from app.repositories.run_inputs import JudgeRow, members
from app.repositories.verdicts import verdicts_of
from app.rlaif.beliefs import beliefs_of
from app.rlaif.instruments import EQUAL_VOTES, Cascade, Instrument
from app.rlaif.judges import JudgeSpec, calibration_of
from workers.stages.asking import ask
from workers.stages.compare import Block
from workers.stages.contract import StageContext
from workers.stages.docket import Docket

_SPEC: TypeAdapter[JudgeSpec] = TypeAdapter(JudgeSpec)


def asking(context: StageContext, judge: JudgeRow) -> Instrument:
    """By what it is decided whom to ask: in a calibration everybody is asked everything."""
    recipe = context.work.recipe
    if recipe.calibrate is not None:
        return EQUAL_VOTES
    with context.read() as session:
        return instrument_of(session, judge, calibration=recipe.judge.calibration)


def instrument_of(session: Session, judge: JudgeRow, *, calibration: str | None) -> Instrument:
    """How the judge's beliefs are read: by the calibration that the recipe names, by its own, or by equal votes."""
    id_ = read_by(judge, calibration=calibration)
    return EQUAL_VOTES if id_ is None else fitted_by(session, id_)


def read_by(judge: JudgeRow, *, calibration: str | None) -> str | None:
    """The id of the calibration that the judge is read with: the recipe's, or its own."""
    return calibration or calibration_of(_SPEC.validate_python(judge.spec))


def put(context: StageContext, docket: Docket, instrument: Instrument) -> None:
    """Ask what is missing of everybody who is to be asked. Raises GiveBack, BudgetReached, StageRefused, LeaseLost.

    A cascade's steps are asked about what those before leave open, as its instrument decides. Another instrument, as
    in the cascade's own calibration, has all of them asked about everything.
    """
    if isinstance(instrument, Cascade):
        _descend(context, docket, instrument)
        return
    for turn, member in enumerate(asked := members(docket.judge)):
        ask(context, replace(docket, judge=member, turn=turn, turns=len(asked)))


def _descend(context: StageContext, docket: Docket, cascade: Cascade) -> None:
    steps = members(docket.judge)
    for turn, member in enumerate(steps):
        before = tuple(step.id for step in steps[:turn])
        open_ = partial(_open, context, docket, cascade, asked=before, judge=member)
        ask(context, replace(docket, judge=member, blocks=open_, turn=turn, turns=len(steps)))


def _open(
    context: StageContext, docket: Docket, cascade: Cascade, *, asked: Sequence[str], judge: JudgeRow
) -> Iterator[Block]:
    """The comparisons that this judge is to be asked about."""
    for block in docket.blocks():
        ids = [item.row.id for item in block.comparisons]
        with context.read() as session:
            given = verdicts_of(session, context.work.run_id, judge_ids=asked, comparison_ids=ids)
        beliefs = {id_: beliefs_of(row.answered for row in given.get(id_, ())) for id_ in ids}
        open_ = [item for item in block.comparisons if cascade.next_judge(beliefs[item.row.id], asked) == judge.id]
        yield replace(block, comparisons=open_)
