"""How often the policy's answer beats the base model's, by the evaluation judge: PROMPTS BASE POLICY JUDGE.

Prints one line of JSON: comparisons, wins, ties, win rate with ties as a half.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from benchmarks.trl_scripts.scores import read_completions, read_prompts, rubric_of, score


def main(prompts: Path, base: Path, policy: Path, judge: Path) -> None:
    asked, met, own = read_prompts(prompts), read_completions(base), read_completions(policy)
    rubric = rubric_of(json.loads(judge.read_text())["spec"]["criteria"])
    differences = [
        score(rubric, asked[id_], mine) - score(rubric, asked[id_], theirs)
        for id_, answers in own.items()
        for mine, theirs in zip(answers, met[id_], strict=True)
    ]
    wins, ties = sum(each > 0 for each in differences), sum(each == 0 for each in differences)
    rate = (wins + ties / 2) / len(differences)
    print(json.dumps({"comparisons": len(differences), "wins": wins, "ties": ties, "win_rate": rate}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:5]))
