"""Write `tasks/*.json`: three capability tasks about the subjects of `topics.jsonl`. The same bytes every time."""

import json
import random
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOCUMENTS = 40
SEED = 17


def main() -> None:
    """Each file is a body of `POST /v1/tasks`."""
    topics = [json.loads(line) for line in (HERE / "topics.jsonl").read_text().splitlines()]
    (HERE / "tasks").mkdir(exist_ok=True)
    for body in (_facts(topics), _continuations(topics), _topic(topics)):
        text = json.dumps(body, indent=1, ensure_ascii=False)
        (HERE / "tasks" / f"{body['config']['task']}.json").write_text(f"{text}\n")


def _facts(topics: list[dict[str, Any]]) -> dict[str, Any]:
    """Which of four true sentences about a subject answers the question."""
    rng = random.Random(SEED)
    documents = []
    for topic in topics[:DOCUMENTS]:
        choices = [topic[kind] for kind in ("fact", "what", "how", "why")]
        rng.shuffle(choices)
        documents.append({"topic": topic["name"], "choices": choices, "answer": choices.index(topic["fact"])})
    config = {
        "task": "facts",
        "output_type": "multiple_choice",
        "doc_to_text": "What do few people know about {{topic}}?",
        "doc_to_choice": "choices",
        "doc_to_target": "{{answer}}",
        "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
        "apply_chat_template": True,
    }
    return {"config": config, "documents": documents}


def _continuations(topics: list[dict[str, Any]]) -> dict[str, Any]:
    """How well the model knows the end of a true sentence."""
    documents = []
    for topic in topics[:DOCUMENTS]:
        words = topic["what"].split()
        documents.append({"begin": " ".join(words[: len(words) // 2]), "end": " ".join(words[len(words) // 2 :])})
    config = {
        "task": "definitions",
        "output_type": "loglikelihood",
        "doc_to_text": "{{begin}}",
        "doc_to_target": " {{end}}",
        "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}],
    }
    return {"config": config, "documents": documents}


def _topic(topics: list[dict[str, Any]]) -> dict[str, Any]:
    """Whether an answer names its subject."""
    pattern = "|".join(sorted({word for topic in topics[:DOCUMENTS] for word in topic["keywords"]}, key=len)[::-1])
    documents = [{"topic": topic["name"], "words": topic["keywords"]} for topic in topics[:DOCUMENTS]]
    config = {
        "task": "on-topic",
        "output_type": "generate_until",
        "doc_to_text": "What can you tell me about {{topic}}?",
        "doc_to_target": "words",
        "filter_list": [
            {
                "name": "first-word",
                "filter": [
                    {"function": "lowercase"},
                    {"function": "regex", "regex_pattern": rf"\b(?:{pattern})\b"},
                    {"function": "take_first"},
                ],
            }
        ],
        "metric_list": [{"metric": "exact_match"}],
        "generation_kwargs": {"until": ["\n"], "max_gen_toks": 32},
        "apply_chat_template": True,
    }
    return {"config": config, "documents": documents}


if __name__ == "__main__":
    main()
