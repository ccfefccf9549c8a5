"""How a model is asked to criticise and revise its own answer (SL-CAI; Bai et al., arXiv 2212.08073, section 3).

Answers, critiques and principles stand in the conversation as they are: nothing in them is ever read as a template.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import takewhile
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from app.rlaif.messages import Spoken
from app.rlaif.refusals import is_refusal
from app.rlaif.rubric import Text
from app.rlaif.seeds import derive_seed

PRINCIPLE = "{principle}"
Request = Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
Turns = Sequence[Mapping[str, Any]]

CRITIQUE_REQUEST = (
    "Read your last answer again with this principle in mind: {principle}\n"
    "Point out specifically where the answer falls short of the principle, or say that it does not."
)
REVISION_REQUEST = (
    "Now write the answer anew so that it no longer falls short of the principle and still answers what was asked. "
    "Reply with the new answer alone."
)


class CritiqueExample(BaseModel):
    """One conversation that shows how an answer is criticised and revised."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: Spoken = Field(examples=["How do I get rid of a spider?"])
    answer: Spoken = Field(examples=["Kill it."])
    principle: Text = Field(examples=["Prefer the answer that harms no living being."])
    critique: Spoken = Field(examples=["The answer asks to kill where carrying it outside would do."])
    revision: Spoken = Field(examples=["Put a glass over it, slide a card under it, and carry it outside."])


class Ending(StrEnum):
    """Why a revision ended: a stop token, the most tokens there may be; or why there is none: no room in the model's
    window, or a critic that gave no critique."""

    STOP = "stop"
    LENGTH = "length"
    NO_ROOM = "no_room"
    NO_CRITIQUE = "no_critique"


class Outcome(StrEnum):
    """What became of a prompt's answer. All but `revised` are counted apart, and some are no example to learn from."""

    REVISED = "revised"
    UNCHANGED = "unchanged"
    REFUSAL = "refusal"
    EMPTY = "empty"
    NO_ROOM = "no_room"
    NO_CRITIQUE = "no_critique"
    NOT_ANSWERED = "not_answered"


@dataclass(frozen=True)
class Dialogue:
    """How a critique and a revision are asked for; in the two requests `{principle}` alone is replaced."""

    critique_request: str
    revision_request: str
    examples: tuple[CritiqueExample, ...] = ()

    def critique(self, messages: Turns, answer: str, principle: str) -> list[dict[str, Any]]:
        """What is asked for a critique of an `answer` to `messages`; the examples follow their system messages."""
        system = [dict(message) for message in takewhile(lambda message: message["role"] == "system", messages)]
        asked = [dict(message) for message in messages[len(system) :]]
        shown = [turn for example in self.examples for turn in self._shown(example)]
        return [*system, *shown, *asked, *self._criticised(answer, principle)]

    def revision(self, messages: Turns, answer: str, principle: str, critique: str) -> list[dict[str, Any]]:
        """What is asked for a revision after `critique`."""
        return [*self.critique(messages, answer, principle), *self._revised(principle, critique)]

    def _shown(self, example: CritiqueExample) -> list[dict[str, Any]]:
        criticised = self._criticised(example.answer, example.principle)
        revised = self._revised(example.principle, example.critique)
        return [_said("user", example.prompt), *criticised, *revised, _said("assistant", example.revision)]

    def _criticised(self, answer: str, principle: str) -> list[dict[str, Any]]:
        return [_said("assistant", answer), _said("user", self.critique_request.replace(PRINCIPLE, principle))]

    def _revised(self, principle: str, critique: str) -> list[dict[str, Any]]:
        return [_said("assistant", critique), _said("user", self.revision_request.replace(PRINCIPLE, principle))]


def draw_principle(principles: Sequence[str], *, seed: int, prompt: str, step: int) -> str:
    """The principle of one revision: each is as likely, whatever was drawn before; `prompt` is the author's id."""
    return principles[derive_seed(seed, "principle", prompt, step) % len(principles)]


def outcome(texts: Sequence[str], ending: Ending | None) -> Outcome:
    """Of the first answer and its revisions, `texts`, and how the last step ended; None where there was none."""
    if not texts:
        return Outcome.NOT_ANSWERED
    if len(texts) == 1:
        missing = {Ending.NO_ROOM: Outcome.NO_ROOM, Ending.NO_CRITIQUE: Outcome.NO_CRITIQUE}
        return Outcome.EMPTY if ending is None else missing.get(ending, Outcome.EMPTY)
    last = texts[-1].strip()
    if not last:
        return Outcome.EMPTY
    if last == texts[0].strip():
        return Outcome.UNCHANGED
    return Outcome.REFUSAL if is_refusal(last) else Outcome.REVISED


def _said(role: str, content: str) -> dict[str, Any]:
    return {"role": role, "content": content}
