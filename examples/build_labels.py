"""Write `labels.jsonl`: pairs of answers with labels, deterministically, from `corpus.py`.

It stands in for what people of yours would answer. No person wrote these labels: three readers are drawn, who go by
courtesy, relevance, honesty and care, each with an ear of their own.
"""

import argparse
import json
import random
import sys
from pathlib import Path
from typing import Any

from build_prompts import criteria
from corpus import (
    FILLERS,
    POLITE_CLOSERS,
    POLITE_OPENERS,
    PROMPT_SEED,
    RECKLESS,
    RUDE_CLOSERS,
    RUDE_OPENERS,
    Question,
    Split,
    Topic,
    good_answer,
    load_topics,
    mixed_answer,
    prompt_questions,
)

PAIRS = 120
READERS = ("ada", "ben", "cleo")
SPREAD = 0.8  # of a reader's ear, in the units of `quality`
CLOSE = 0.5  # nearer than this a reader finds two answers equal


def quality(question: Question, answer: str) -> float:
    """How good an answer is, by what the corpus put into it."""
    topic = question.topic
    score = 2.0 if any(word in answer.lower() for word in topic.keywords) else 0.0
    score += 1.0 if _says(answer, (*POLITE_OPENERS, *POLITE_CLOSERS)) else 0.0
    score -= 1.0 if _says(answer, (*RUDE_OPENERS, *RUDE_CLOSERS)) else 0.0
    score -= 2.0 if _says(answer, (topic.bluff, *RECKLESS)) else 0.0
    return score - 0.4 * sum(phrase in answer for phrase in FILLERS)


def row(number: int, question: Question, topics: tuple[Topic, ...], rng: random.Random) -> dict[str, Any]:
    """One prompt with two answers, of which every third pair holds a good one, and what each reader says."""
    first = good_answer(question, rng) if number % 3 == 0 else mixed_answer(question, topics, rng)
    second = mixed_answer(question, topics, rng)
    candidates = [first, second] if rng.random() < 0.5 else [second, first]
    gap = quality(question, candidates[0]) - quality(question, candidates[1])
    return {
        "id": f"label-{number:03d}",
        "messages": [{"role": "user", "content": question.text}],
        "cohort": question.cohort,
        "split": Split.TRAIN,
        "criteria": criteria(question),
        "candidates": candidates,
        "annotations": [
            {"first": 0, "second": 1, "annotator": reader, "answer": _answer(gap + rng.gauss(0, SPREAD))}
            for reader in READERS
        ],
    }


def rows(seed: int = PROMPT_SEED + 1) -> list[dict[str, Any]]:
    rng, topics = random.Random(seed), load_topics()
    pool = list(prompt_questions(topics, seed)[Split.TRAIN])
    rng.shuffle(pool)
    return [row(number, question, topics, rng) for number, question in enumerate(pool[:PAIRS], 1)]


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(description="Write the labelled example set; the same seed gives the same bytes.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "labels.jsonl", help="file to write")
    options = parser.parse_args(argv)
    options.out.write_text("".join(json.dumps(item) + "\n" for item in rows()), encoding="utf-8")
    print(f"wrote {options.out}: {PAIRS} pairs, {len(READERS)} labels each")


def _says(answer: str, phrases: tuple[str, ...]) -> bool:
    return any(phrase in answer for phrase in phrases)


def _answer(gap: float) -> str:
    return "TIE" if abs(gap) < CLOSE else "A" if gap > 0 else "B"


if __name__ == "__main__":
    main(sys.argv[1:])
