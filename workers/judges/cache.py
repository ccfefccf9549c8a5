"""Questions with what is known of them: rendered once, and with the reply where the same was asked before.

Look-ups go by blocks. Of equal questions in one shard only the first is asked; in two shards at the same time both
may be, and the later reply is kept.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import islice

from app.rlaif.judges import RemoteJudge
from app.rlaif.questions import AnswerFormat, Question
from app.rlaif.rendering import ChatMessages, prompt_hash
from app.rlaif.reply_keys import Kept, Remembered, asker, reply_key
from workers.ahead import ahead
from workers.judges.protocol import Judged

BLOCK = 128
LATELY_ASKED = 2048
"""Questions that equal ones may follow before the first one's reply is stored."""

Recall = Callable[[Collection[bytes]], Mapping[bytes, Remembered]]


@dataclass(slots=True)
class Asking:
    """A question that is being asked; equal ones wait for its reply."""

    known: Remembered | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass
class Prepared:
    """A question, its messages and their hash, and what is known of its reply.

    `key` is None for a judge whose replies are not kept. `leader` is the equal question before it that is being asked.
    """

    question: Question
    key: bytes | None = None
    known: Remembered | None = None
    leader: Asking | None = None
    asking: Asking | None = None

    @cached_property
    def messages(self) -> ChatMessages:
        return self.question.messages()

    @cached_property
    def hash(self) -> str:
        return prompt_hash(self.messages)

    async def recalled(self) -> Judged | None:
        """The answers that the stored reply gives; None where there is none and the question must be asked."""
        if self.known is None and self.leader is not None:
            await self.leader.ended.wait()
            self.known = self.leader.known
        if self.known is None:
            return None
        return Judged(
            self.question.read(self.known.reply),
            reply=self.known.reply,
            raw_text=self.known.reply.text,
            prompt_hash=self.hash,
            attempts=0,
            cached=True,
            saved_usd=self.known.cost_usd,
        )

    def kept(self, judged: Judged) -> Judged:
        """With the reply to keep, where one was read, whatever it says; a failure of the endpoint is no reply.

        Equal questions that wait for this one take it too.
        """
        if self.key is None or judged.reply is None:
            return judged
        found = Remembered(judged.reply, judged.prompt_tokens, judged.completion_tokens, judged.cost_usd)
        if self.asking is not None:
            self.asking.known = found
        return replace(judged, kept=Kept(self.key, found))

    def end(self) -> None:
        """Asking is over, with a reply or without."""
        if self.asking is not None:
            self.asking.ended.set()


def uncached(questions: Iterable[Question]) -> Generator[Prepared, None, None]:
    """Every question, to be asked."""
    for question in questions:
        yield Prepared(question)


class ReplyCache:
    """The replies that a judge has given to a project's questions; `recall` looks some up by their keys."""

    def __init__(self, spec: RemoteJudge, recall: Recall) -> None:
        self._spec = spec
        self._recall = recall
        self._askers: dict[tuple[str, tuple[str, ...], int], bytes] = {}
        self._lately: OrderedDict[bytes, Asking] = OrderedDict()

    def prepared(self, questions: Iterable[Question]) -> Generator[Prepared, None, None]:
        """The questions in their order, with what is known of each. One block is looked up while another is asked."""
        with closing(ahead(self._looked_up(questions))) as blocks:
            for block in blocks:
                for key, prepared in block:
                    if prepared.known is None:
                        self._follow(key, prepared)
                    yield prepared

    def _looked_up(self, questions: Iterable[Question]) -> Iterator[list[tuple[bytes, Prepared]]]:
        """In a thread of its own."""
        source = iter(questions)
        while block := [self._keyed(question) for question in islice(source, BLOCK)]:
            known = self._recall({key for key, _ in block})
            for key, prepared in block:
                prepared.known = known.get(key)
            yield block

    def _keyed(self, question: Question) -> tuple[bytes, Prepared]:
        prepared = Prepared(question)
        prepared.key = reply_key(self._asker(question.format), prepared.hash, question.units[0].repeat)
        return prepared.key, prepared

    def _asker(self, format_: AnswerFormat) -> bytes:
        """Formats with a schema are not hashable, and there are few: by what they demand."""
        place = (format_.demand, format_.options, format_.room)
        if place not in self._askers:
            self._askers[place] = asker(self._spec, format_)
        return self._askers[place]

    def _follow(self, key: bytes, prepared: Prepared) -> None:
        """Behind the equal question that was asked lately; in front of those to come where there is none."""
        prepared.leader = self._lately.get(key)
        if prepared.leader is None:
            prepared.asking = self._lately[key] = Asking()
            if len(self._lately) > LATELY_ASKED:
                self._lately.popitem(last=False)
