"""Takes a judge's answers as they come and has them stored, however the judge ends: a paid verdict is never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing

from app.rlaif.questions import Question
from workers.judges.protocol import Judge, Judged
from workers.stages.contract import StageContext
from workers.stages.inputs import stopped
from workers.stages.ledger import POLL_S, Ledger


async def listen(context: StageContext, judge: Judge, questions: Iterable[Question], ledger: Ledger) -> None:
    """Until every question is answered; the judge is closed. Raises GiveBack, and what the judge and storing raise."""
    async with aclosing(judge), aclosing(judge.judge(questions)) as answers:
        parts = [_hear(answers, ledger), ledger.keep_storing(), _stop_in_time(context)]
        tasks = [asyncio.ensure_future(part) for part in parts]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = [task for task in tasks if task.done()]
            await _cancel(tasks)
            await ledger.store()
        for task in ended:
            task.result()


async def _hear(answers: AsyncIterator[Judged], ledger: Ledger) -> None:
    async for judged in answers:
        await ledger.add(judged)


async def _stop_in_time(context: StageContext) -> None:
    """Once a stop is asked for, calls in flight may end; raises GiveBack when they take too long."""
    while not context.progress.should_stop():
        await asyncio.sleep(POLL_S)
    await asyncio.sleep(context.settings.stop_grace_s / 2)
    raise stopped(context)


async def _cancel(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
