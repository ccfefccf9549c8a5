"""A bare aiohttp client that only posts and reads, beside which the judge stage's figures say what the machine allows.

python -m benchmarks.judge_bare BASE_URL CALLS IN_FLIGHT
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator

import aiohttp
import uvloop

from benchmarks.judge_world import texts


async def main(base_url: str, calls: int, in_flight: int) -> None:
    question, completions = texts(0)
    messages = [{"role": "system", "content": question}, {"role": "user", "content": " ".join(completions)}]
    body = {"model": "scripted", "messages": messages, "max_tokens": 8, "logprobs": True, "top_logprobs": 5}
    began_at, cpu_s = time.monotonic(), time.process_time()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=in_flight)) as session:
        turns = iter(range(calls))
        await asyncio.gather(*(_post(session, f"{base_url}/chat/completions", body, turns) for _ in range(in_flight)))
    print(json.dumps({"wall_s": time.monotonic() - began_at, "cpu_s": time.process_time() - cpu_s}))


async def _post(session: aiohttp.ClientSession, url: str, body: object, turns: Iterator[int]) -> None:
    for _ in turns:
        async with session.post(url, json=body) as response:
            await response.read()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
