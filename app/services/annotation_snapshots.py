"""Snapshots: what people have settled in a queue, as an immutable labelled prompt set that judges are calibrated on."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator

from sqlalchemy.orm import Session

from app.db.models import AnnotationQueue, PromptSet
from app.db.session import WriteSession
from app.errors import Conflict
from app.repositories import annotation_items, annotation_queues
from app.rlaif.annotated import AnnotatedPair, annotated_prompts
from app.services import annotation_queues as queues
from app.services import prompt_sets

_READ_AT_ONCE = 100


class NothingSettled(Conflict):
    """Raised when no item of the queue is settled yet."""


def create(session: WriteSession, project_id: str, queue_id: str, *, name: str) -> PromptSet:
    """A prompt set of every settled item: its two candidates, their authors, and everybody's answers.

    The prompts keep their criteria, reference, tools, cohort and split. Raises NotFound, NothingSettled, NameTaken.
    """
    queue = queues.get(session, project_id, queue_id)
    with tempfile.TemporaryFile(prefix="rlaif-snapshot-") as file:
        for prompt in annotated_prompts(_settled_pairs(session, queue)):
            file.write(json.dumps(prompt).encode() + b"\n")
        if file.tell() == 0:
            raise NothingSettled(
                f"no item of annotation queue {queue_id!r} is settled yet: nothing can be measured on it"
            )
        file.seek(0)
        prompt_set = prompt_sets.upload(
            session, project_id, name=name, content=file, held_out=0.0, max_line=sys.maxsize - 1, max_total=sys.maxsize
        )
    prompt_set.annotation_queue_id = queue.id
    session.flush()
    return prompt_set


def _settled_pairs(session: Session, queue: AnnotationQueue) -> Iterator[AnnotatedPair]:
    for item_ids in annotation_items.settled_ids(session, queue.id, batch=_READ_AT_ONCE):
        contents = annotation_items.contents(session, item_ids)
        given = annotation_queues.given_answers(session, item_ids)
        for content in (contents[item_id] for item_id in item_ids):
            yield AnnotatedPair(
                prompt_key=content.prompt_key,
                prompt=content.prompt,
                candidates=(content.first, content.second),
                authors=content.authors,
                given=tuple(given[content.item_id]),
            )
