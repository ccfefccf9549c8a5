"""What passes between a stage and the ranks that train for it: files in one directory, all of them JSON.

Whatever can start processes on this directory can run a training: nothing is inherited, and nothing is unpickled.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import TypeAdapter

from app.rlaif.health import Alarm
from workers.training import contracts
from workers.training.contracts import Progress

_PROGRESS = "progress"
_CONTRACTED: dict[str, type[Exception]] = {
    name: each for name, each in vars(contracts).items() if isinstance(each, type) and issubclass(each, Exception)
}
"""How trainings may end beside returning."""

_TRACE_LINES = 12


@dataclass(frozen=True)
class Failure:
    """How one rank ended that should not have: the number of a signal below zero, or what was raised, and when."""

    rank: int
    exitcode: int
    error: str = ""
    at: float = 0.0


class TaskDirectory:
    """One training: what is to be called, what was reported, whether to stop, and how it ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen = 0

    def write(self, train: Callable[..., Any], arguments: Mapping[str, Any]) -> None:
        """Begin anew with a call of `train`, which is found by its name; its progress is the ranks' own."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.path.mkdir(parents=True)
        hints = get_type_hints(train)
        plain = {
            name: TypeAdapter(hints[name]).dump_python(value, mode="json")
            for name, value in arguments.items()
            if name != _PROGRESS
        }
        self._put("task.json", {"train": f"{train.__module__}:{train.__qualname__}", "arguments": plain})

    def call(self, progress: Progress) -> Any:
        """Do what `write` was told, in this process."""
        task = json.loads((self.path / "task.json").read_text())
        train = self._train(task["train"])
        hints = get_type_hints(train)
        arguments = {name: TypeAdapter(hints[name]).validate_python(each) for name, each in task["arguments"].items()}
        bound = inspect.signature(train).bind(**arguments, **{_PROGRESS: progress})
        return train(*bound.args, **bound.kwargs)

    @staticmethod
    def _train(name: str) -> Callable[..., Any]:
        module, function = name.split(":")
        found: Callable[..., Any] = getattr(importlib.import_module(module), function)
        return found

    def report(self, step: int, total: int, metrics: Mapping[str, float]) -> None:
        self._tell({"report": [step, total, dict(metrics)]})

    def alarm(self, alarm: Alarm) -> None:
        self._tell({"alarm": alarm.model_dump(mode="json")})

    def _tell(self, message: Mapping[str, Any]) -> None:
        with (self.path / "messages.jsonl").open("a") as file:
            file.write(json.dumps(message) + "\n")

    def hand_on(self, progress: Progress) -> None:
        """Tell `progress` what this object has not handed on before."""
        path = self.path / "messages.jsonl"
        for message in self._new_lines(path) if path.exists() else ():
            if "alarm" in message:
                progress.alarm(Alarm.model_validate(message["alarm"]))
            else:
                progress.report(*message["report"])

    def _new_lines(self, path: Path) -> Iterator[dict[str, Any]]:
        with path.open() as file:
            file.seek(self._seen)
            while (line := file.readline()).endswith("\n"):
                self._seen = file.tell()
                yield json.loads(line)

    def ask_to_stop(self) -> None:
        (self.path / "stop").touch()

    def should_stop(self) -> bool:
        return (self.path / "stop").exists()

    def succeed(self, train_result: Any) -> None:
        self._put("outcome.json", {"result": TypeAdapter(type(train_result)).dump_python(train_result, mode="json")})

    def end_with(self, error: Exception) -> None:
        """An end that trainings have by contract: it is raised again where the training was asked for."""
        fields = TypeAdapter(dict[str, Any]).dump_python(vars(error), mode="json")
        self._put("outcome.json", {"error": type(error).__name__, "message": str(error), "fields": fields})

    def outcome(self, result_type: Any) -> Any:
        """What the training returned. Raises what it raised; FileNotFoundError when it did not come to an end."""
        found = json.loads((self.path / "outcome.json").read_text())
        if "error" in found:
            raise _rebuilt(_CONTRACTED[found["error"]], found["message"], found["fields"])
        return TypeAdapter(result_type).validate_python(found["result"])

    def fail(self, rank: int, error: BaseException) -> None:
        trace = "".join(traceback.format_exception(error)).splitlines()[-_TRACE_LINES:]
        text = "\n".join([f"{type(error).__name__}: {error}", *trace])
        self._put(f"raised-{rank}.json", {"rank": rank, "exitcode": 1, "error": text, "at": time.time()})

    def deaths(self, found: Mapping[int, int]) -> None:
        """Exit codes by rank."""
        self._put("deaths.json", [{"rank": rank, "exitcode": code} for rank, code in found.items()])

    def failures(self) -> list[Failure]:
        """What ranks raised, the first first, and then how they died."""
        raised = [Failure(**json.loads(path.read_text())) for path in self.path.glob("raised-*.json")]
        died = [Failure(**each) for path in self.path.glob("deaths.json") for each in json.loads(path.read_text())]
        return [*sorted(raised, key=lambda failure: failure.at), *died]

    def _put(self, name: str, content: Any) -> None:
        """Whole or not at all."""
        partial = self.path / f".{name}"
        partial.write_text(json.dumps(content))
        os.replace(partial, self.path / name)


def is_contracted(error: BaseException) -> bool:
    """Whether trainings are expected to end so."""
    return type(error).__name__ in _CONTRACTED


def _rebuilt(kind: type[Exception], message: str, fields: Mapping[str, Any]) -> Exception:
    """The error as it was, whatever its constructor takes."""
    error = kind.__new__(kind, message)
    vars(error).update(fields)
    return error
