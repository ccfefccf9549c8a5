"""One of several processes that call one endpoint, as shards' children do. Says how it went.

python -m tests.judges.caller --database URL --project ID --endpoint URL --questions 100 [--requests-per-minute 600]
"""

from __future__ import annotations

import argparse
import json
from collections import Counter

import uvloop

from app.config import Settings
from app.db.session import make_engine, make_session_factory
from app.repositories.endpoints import Place
from app.rlaif.judges import OpenAIJudge
from app.rlaif.limits import endpoint_key
from tests.judges.questions import POLITE, RUDE, both_orders
from workers.judges.build import build_judge
from workers.judges.limits import SharedLimits, Stated
from workers.judges.protocol import JudgeUnavailable


async def ask(arguments: argparse.Namespace) -> Counter[str]:
    spec = OpenAIJudge(
        family="scripted",
        base_url=arguments.endpoint,
        model="scripted",
        max_concurrency=arguments.in_flight,
        requests_per_minute=arguments.requests_per_minute,
        usd_per_million_input_tokens=1.0,
        usd_per_million_output_tokens=1.0,
    )
    sessions = make_session_factory(make_engine(Settings(database_url=arguments.database), pool_size=2))
    place = Place(arguments.project, endpoint_key(spec.base_url, spec.model, spec.secret))
    limits = SharedLimits(sessions.begin, place, Stated.of(spec))
    judge = build_judge(spec, may_spend=lambda: True, limits=limits)
    counted: Counter[str] = Counter()
    try:
        async for judged in judge.judge(both_orders([(POLITE, RUDE)] * (arguments.questions // 2))):
            reason = judged.answers[0].reason
            counted[reason.value if reason else "answered"] += 1
            counted["calls"] += judged.attempts
    except JudgeUnavailable:
        counted["unavailable"] += 1
    finally:
        await judge.aclose()
    return counted


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--database", required=True)
    parser.add_argument("--project", required=True)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--questions", type=int, required=True)
    parser.add_argument("--in-flight", type=int, default=64)
    parser.add_argument("--requests-per-minute", type=float)
    print(json.dumps(uvloop.run(ask(parser.parse_args()))))  # noqa: T201  its output
