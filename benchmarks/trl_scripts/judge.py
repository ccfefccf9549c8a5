"""Preference pairs of neighbours in a ring of each prompt's distinct answers: PROMPTS COMPLETIONS RUBRIC OUT.

TRL has no label for a tie: those pairs are left out, so it trains on fewer than the service does.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.trl_scripts.scores import read_completions, read_prompts, rubric_of, score


def main(prompts: Path, completions: Path, rubric: Path, out: Path) -> None:
    asked = read_prompts(prompts)
    shared = rubric_of(json.loads(rubric.read_text())["criteria"])
    with out.open("w") as file:
        for id_, drawn in read_completions(completions).items():
            own = shared.with_criteria(rubric_of(asked[id_]["criteria"]).criteria)
            scores = {text: score(own, asked[id_], text) for text in drawn}
            texts = list(scores)
            ring = zip(texts, [*texts[1:], *texts[:1]], strict=True) if len(texts) > 2 else [texts] * (len(texts) - 1)
            for one, other in ring:
                if scores[one] != scores[other]:
                    better, worse = (one, other) if scores[one] > scores[other] else (other, one)
                    row = {
                        "prompt": asked[id_]["messages"],
                        "chosen": [{"role": "assistant", "content": better}],
                        "rejected": [{"role": "assistant", "content": worse}],
                    }
                    file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:5]))
