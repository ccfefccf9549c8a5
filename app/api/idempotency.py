"""`Idempotency-Key`: the work and its stored answer are one transaction, so a retry can only find both or neither."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Protocol

from fastapi import Depends, Header, Request, Response

from app.api.dependencies import AnyCaller, WriteSession
from app.db.models import IdempotencyKey
from app.errors import Conflict, InvalidInput
from app.repositories import idempotency


class IdempotencyKeyInFlight(Conflict):
    """Raised when another request with the same key is being handled right now."""


class IdempotencyKeyReused(InvalidInput):
    """Raised when the key already belongs to a request with another operation or body."""


class Answer(Protocol):
    """What a creating handler answers with: a schema that has an id."""

    @property
    def id(self) -> str: ...

    def model_dump_json(self) -> str: ...


@dataclass(frozen=True, slots=True)
class OncePerKey:
    """`return once(lambda: RubricOut.of(rubrics.create(...)), at="/v1/rubrics/{id}")`."""

    session: WriteSession
    project_id: str
    key: str | None
    operation: str
    digest: str

    def __call__(self, work: Callable[[], Answer], *, at: str, withhold: Collection[str] = ()) -> Response:
        """201 with the new object, or the stored first answer.

        `at` is the object's address. `withhold` names fields that are answered once and never stored: a replay has
        null there. Raises IdempotencyKeyInFlight, IdempotencyKeyReused, and what `work` raises: then nothing is stored.
        """
        if self.key is not None and (replayed := self._replayed(self.key)) is not None:
            return replayed
        answer = work()
        body = answer.model_dump_json()
        headers = {"Location": at.format(id=answer.id)}
        if self.key is not None:
            stored = json.dumps({**json.loads(body), **dict.fromkeys(withhold)}) if withhold else body
            self._store(self.key, stored, headers)
        return Response(body, 201, headers, "application/json")

    def _replayed(self, key: str) -> Response | None:
        if not idempotency.try_lock(self.session, self.project_id, key):
            raise IdempotencyKeyInFlight(
                f"a request with Idempotency-Key {key!r} is being handled: repeat it after Retry-After seconds",
                headers={"Retry-After": "1"},
            )
        first = idempotency.stored(self.session, self.project_id, key)
        if first is None:
            return None
        if (first.operation, first.request_digest) != (self.operation, self.digest):
            raise IdempotencyKeyReused(
                f"Idempotency-Key {key!r} was used for another request ({first.operation}): send a new key",
                field="Idempotency-Key",
            )
        return Response(first.body, first.status, {**first.headers, "Idempotent-Replayed": "true"}, "application/json")

    def _store(self, key: str, body: str, headers: dict[str, str]) -> None:
        self.session.add(
            IdempotencyKey(
                project_id=self.project_id,
                key=key,
                operation=self.operation,
                request_digest=self.digest,
                status=201,
                headers=headers,
                body=body,
            )
        )
        self.session.flush()


async def once_per_key(
    request: Request,
    caller: AnyCaller,
    session: WriteSession,
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=255,
            pattern=r"^[\x21-\x7e]+$",
            description="Any unique text. A retry with the same key and body gets the first answer again.",
            examples=["5f3c1f6e-3b0e-4f0a-9f0d-2f4f6f1f2a3b"],
        ),
    ] = None,
) -> OncePerKey:
    """A body's digest was taken when it was read; a body that another dependency refused was not, and is not used."""
    body_digest = getattr(request.state, "body_digest", None)
    digest = hashlib.sha256(f"{request.url.query}\n{body_digest}".encode()).hexdigest()
    operation = f"{request.method} {request.url.path}"
    return OncePerKey(session, caller.project_id, idempotency_key, operation, digest)


Once = Annotated[OncePerKey, Depends(once_per_key)]
