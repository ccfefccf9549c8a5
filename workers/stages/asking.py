"""Puts comparisons to a judge and stores the verdicts as they come, so that a kill loses only the calls in flight.

Only questions without a stored verdict are asked. An INVALID verdict is a verdict: it is missing, not forgotten.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import closing
from itertools import chain
from pathlib import Path
from urllib.parse import urlsplit

import uvloop
from pydantic import TypeAdapter

from app.errors import ServiceError
from app.repositories import reply_cache
from app.repositories.checkpoints import storage_key_of
from app.repositories.endpoints import Place
from app.repositories.run_inputs import JudgeRow
from app.repositories.stages import note_price
from app.repositories.verdicts import judge_usd_spent
from app.rlaif.judges import RemoteJudge, ReplayJudge, RewardModelJudge, SingleSpec
from app.rlaif.limits import endpoint_key
from app.rlaif.prices import Tariff, tariff_of, unpriced
from app.rlaif.questions import Question
from app.rlaif.reply_keys import Remembered
from app.rlaif.stored_answers import ANSWERS_FILE
from app.services.answer_sets import get as get_answer_set
from app.services.judges import require_address
from app.services.prices import price_table
from app.services.secrets import reveal
from workers.judges.build import build_judge
from workers.judges.cache import ReplyCache
from workers.judges.limits import Limits, SharedLimits, Stated
from workers.judges.protocol import Judge, JudgeBudgetReached, JudgeMisconfigured, JudgeUnavailable
from workers.stages.contract import JUDGE_UNAVAILABLE, BudgetReached, GiveBack, StageContext, StageRefused
from workers.stages.docket import Docket, Questions
from workers.stages.inputs import stopped
from workers.stages.ledger import UNSTORED_AT_MOST, Ledger
from workers.stages.listening import listen
from workers.stages.weights import model_directory


def ask(context: StageContext, docket: Docket) -> None:
    """Ask what is missing. Raises GiveBack, BudgetReached, StageRefused and LeaseLost."""
    questions = Questions(context, docket)
    with closing(iter(questions)) as stream:
        first = next(stream, None)
        if first is not None:
            with context.read() as session:
                spent = judge_usd_spent(session, context.work.run_id)
            at_most = unstored_at_most(docket.judge)
            ledger = Ledger(context, docket.judge.id, spent=spent, on_stored=questions.report, unstored_at_most=at_most)
            put_all(context, docket.judge, chain((first,), stream), ledger)
    if questions.cut:
        raise stopped(context)


def unstored_at_most(judge: JudgeRow) -> int:
    """How many replies may wait to be stored: of a judge that is paid, as many as it has calls in flight."""
    spec: SingleSpec = TypeAdapter(SingleSpec).validate_python(judge.spec)
    return spec.max_concurrency if isinstance(spec, RemoteJudge) else UNSTORED_AT_MOST


def put_all(
    context: StageContext, judge: JudgeRow, questions: Iterable[Question], ledger: Ledger, *, anew: bool = False
) -> None:
    """Put every question to one judge; `anew` takes no stored reply and keeps none.

    Raises GiveBack, BudgetReached, StageRefused and LeaseLost.
    """
    try:
        uvloop.run(listen(context, _build(context, judge, ledger, anew=anew), questions, ledger))
    except JudgeMisconfigured as error:
        raise StageRefused("judge_misconfigured", f"judge {judge.name!r}: {error}") from error
    except JudgeBudgetReached as error:
        raise BudgetReached("judge_budget_reached", f"{ledger.spent} USD are spent: {error}") from error
    except JudgeUnavailable as error:
        detail = f"judge {judge.name!r}: {error}"
        raise GiveBack(JUDGE_UNAVAILABLE, detail, retry_after_s=error.retry_after_s) from error


def _build(context: StageContext, judge: JudgeRow, ledger: Ledger, *, anew: bool) -> Judge:
    spec: SingleSpec = TypeAdapter(SingleSpec).validate_python(judge.spec)
    return build_judge(
        spec,
        may_spend=ledger.may_spend,
        api_key=_api_key(context, spec),
        model_dir=_model(context, judge, spec),
        answers=_answers(context, spec),
        private_networks=context.settings.allowed_networks(),
        tariff=_tariff(context, judge, spec),
        limits=_limits(context, spec),
        cache=None if anew else _cache(context, spec),
    )


def _cache(context: StageContext, spec: SingleSpec) -> ReplyCache | None:
    config = context.work.recipe.judge
    if not isinstance(spec, RemoteJudge) or not config.cache:
        return None

    def recall(keys: Collection[bytes]) -> Mapping[bytes, Remembered]:
        with context.read() as session:
            return reply_cache.recall(session, context.work.project_id, keys, max_age_days=config.cache_max_age_days)

    return ReplyCache(spec, recall)


def _tariff(context: StageContext, judge: JudgeRow, spec: SingleSpec) -> Tariff | None:
    """What the judge's tokens cost, which the stage keeps. Raises StageRefused where a budget could never bind."""
    tariff = tariff_of(spec, price_table(context.settings))
    if tariff is None and context.work.recipe.budget.judge_usd is not None:
        raise StageRefused("price_unknown", unpriced(judge.name, spec))
    if isinstance(spec, RemoteJudge):
        with context.transaction() as session:
            note_price(session, context.work.stage_id, judge.id, None if tariff is None else tariff.as_record())
    return tariff


def _limits(context: StageContext, spec: SingleSpec) -> Limits | None:
    if not isinstance(spec, RemoteJudge):
        return None
    place = Place(context.work.project_id, endpoint_key(spec.base_url, spec.model, spec.secret))
    return SharedLimits(context.unfenced, place, Stated.of(spec))


def _model(context: StageContext, judge: JudgeRow, spec: SingleSpec) -> Path | None:
    """The files of the model that a judge runs, every byte of them verified. Raises StageRefused."""
    if isinstance(spec, RewardModelJudge):
        with context.read() as session:
            key = storage_key_of(session, context.work.project_id, spec.checkpoint)
        return model_directory(context, key)
    return None if judge.model is None else model_directory(context, judge.model.storage_key)


def _answers(context: StageContext, spec: SingleSpec) -> Path | None:
    """The file that a replay judge reads, every byte of it verified. Raises StageRefused."""
    if not isinstance(spec, ReplayJudge):
        return None
    with context.read() as session:
        answer_set = get_answer_set(session, context.work.project_id, spec.answers)
    return model_directory(context, answer_set.storage_key) / ANSWERS_FILE


def _api_key(context: StageContext, spec: SingleSpec) -> str | None:
    """The key that the judge's secret holds, for the host of its address alone. Raises StageRefused."""
    if not isinstance(spec, RemoteJudge):
        return None
    try:
        require_address(spec, context.settings)
        if spec.secret is None:
            return None
        with context.read() as session:
            host = urlsplit(spec.base_url).hostname or ""
            return reveal(
                session, context.work.project_id, spec.secret, host=host, settings=context.settings
            ).get_secret_value()
    except ServiceError as error:
        raise StageRefused(error.code(), error.detail) from error
