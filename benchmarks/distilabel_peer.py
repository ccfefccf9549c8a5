"""distilabel's pairwise judge task on the scripted endpoint. Runs in the peer's own environment, not in this project's.

    python distilabel_peer.py BASE_URL PAIRS.jsonl BATCH

Each line of the file is {"instruction": ..., "generations": [first, second]}. Prints one line of JSON: rows, parsed
answers, CPU seconds of all its processes.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
from pathlib import Path

from distilabel.models import OpenAILLM
from distilabel.pipeline import Pipeline
from distilabel.steps import LoadDataFromDicts
from distilabel.steps.tasks import PrometheusEval


def main(base_url: str, pairs: Path, batch: int) -> None:
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    with Pipeline(name="judge") as pipeline:
        load = LoadDataFromDicts(data=rows, batch_size=batch)
        judge = PrometheusEval(
            llm=OpenAILLM(
                model="scripted",
                base_url=base_url,
                api_key="none",
                generation_kwargs={"temperature": 0.0, "max_new_tokens": 8},
            ),
            mode="relative",
            rubric="helpfulness",
            input_batch_size=batch,
            add_raw_input=False,
            add_raw_output=False,
        )
        load >> judge
    distiset = pipeline.run(use_cache=False)
    results = distiset["default"]["train"]["result"]
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu_s = sum(each.ru_utime + each.ru_stime for each in usage)
    print(json.dumps({"rows": len(results), "parsed": sum(result in "AB" for result in results), "cpu_s": cpu_s}))


if __name__ == "__main__":
    os.environ["HF_HUB_OFFLINE"] = "1"
    logging.disable(logging.INFO)
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
