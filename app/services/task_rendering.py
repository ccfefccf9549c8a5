"""A task's documents made into questions, in a process of their own: a client's template can cost no more than that.

`python -m app.services.task_rendering` reads one JSON object and writes another; it is the process, with its limits of
processor time and memory, and `render` is what starts it.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from app.errors import InvalidInput
from app.rlaif.task import TaskConfig
from app.rlaif.task_template import DocumentRefused, Question, few_shot, question

CPU_SECONDS = 10
MEMORY_BYTES = 1 << 30
MOST_OUTPUT_CHARACTERS = 1 << 27
_WALL_SECONDS = 4 * CPU_SECONDS
_BY_CPU_LIMIT = -24  # SIGXCPU
_OUT_OF_MEMORY = 77


class TemplateRefused(InvalidInput):
    """Raised when a template makes no question of a document, or costs more than a template may."""


def render(config: TaskConfig, documents: Sequence[Mapping[str, Any]], *, fields: Sequence[str]) -> list[Question]:
    """The questions, in the documents' order; `fields` names each document in an error. Raises TemplateRefused."""
    work = json.dumps({"config": config.model_dump(mode="json"), "documents": list(documents)})
    command = [sys.executable, "-I", "-m", __name__]  # nothing of this process's environment: it holds secrets
    try:
        done = subprocess.run(  # noqa: S603  our own interpreter and module
            command, input=work.encode(), capture_output=True, timeout=_WALL_SECONDS, check=False, env={}
        )
    except subprocess.TimeoutExpired as error:
        raise _too_dear(f"{_WALL_SECONDS} seconds") from error
    if done.returncode == _BY_CPU_LIMIT:
        raise _too_dear(f"{CPU_SECONDS} seconds of processor time")
    if done.returncode == _OUT_OF_MEMORY or done.returncode < 0:
        raise _too_dear(f"{MEMORY_BYTES >> 20} MiB of memory")
    if done.returncode != 0:
        raise RuntimeError(
            f"rendering ended with code {done.returncode}: {done.stderr[-2000:].decode(errors='replace')}"
        )
    answer = json.loads(done.stdout)
    if "refused" in answer:
        place = answer["place"]
        where = "config" if place is None else fields[place]
        raise TemplateRefused(f"{where}: {answer['refused']}", field=f"config.{answer['field']}")
    return [_question(each) for each in answer["questions"]]


def _too_dear(limit: str) -> TemplateRefused:
    return TemplateRefused(
        f"rendering the documents took more than {limit}: simplify the templates, or send fewer documents",
        field="config",
    )


def _question(row: Mapping[str, Any]) -> Question:
    return Question(row["system"], row["context"], *(tuple(row[name]) for name in ("choices", "gold", "targets")))


def _rendered(work: Mapping[str, Any]) -> dict[str, Any]:
    config = TaskConfig.model_validate(work["config"])
    found: list[dict[str, Any]] = []
    place, size = None, 0
    try:
        examples = few_shot(config)
        for document in work["documents"]:
            place = len(found)
            asked = question(config, document, examples=examples)
            size += len(asked.system) + len(asked.context)
            if size > MOST_OUTPUT_CHARACTERS:
                raise DocumentRefused(
                    "doc_to_text", f"the questions hold more than {MOST_OUTPUT_CHARACTERS} characters"
                )
            found.append(asdict(asked))
    except DocumentRefused as refused:
        return {"refused": str(refused), "field": refused.field, "place": place}
    return {"questions": found}


def _main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS + 1))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        json.dump(_rendered(json.load(sys.stdin)), sys.stdout)
    except MemoryError:
        os._exit(_OUT_OF_MEMORY)  # unwinding would need memory, too


if __name__ == "__main__":
    _main()
