"""Completions as the stages read and score them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.db.models import Completion, CompletionSource, Split
from app.repositories.units import among
from app.rlaif.messages import Message, Role
from app.rlaif.scoring import Reward


@dataclass(frozen=True, slots=True)
class CompletionRow:
    """A stored completion; `tokens` counts its stop token, where it has one. A trajectory has its `turns`, and its
    transcript for `text`."""

    id: str
    prompt_id: str
    source: CompletionSource
    position: int
    text: str
    prompt_tokens: int | None
    tokens: int | None
    reward: float | None
    turns: list[dict[str, Any]] | None = None
    finish_reason: str | None = None
    candidate: int = 0

    @property
    def messages(self) -> tuple[Message, ...]:
        """The assistant's one turn, or all turns of a trajectory."""
        if self.turns is None:
            return (Message(role=Role.ASSISTANT, content=self.text),)
        return tuple(Message.model_validate(turn) for turn in self.turns)

    @property
    def length(self) -> int:
        """Tokens where they are known, else characters."""
        return len(self.text) if self.tokens is None else self.tokens


_COLUMNS = (
    Completion.id,
    Completion.prompt_id,
    Completion.source,
    Completion.position,
    Completion.text,
    Completion.prompt_tokens,
    Completion.tokens,
    Completion.reward,
    Completion.turns,
    Completion.finish_reason,
    Completion.candidate,
)


def completions_of(
    session: Session,
    run_id: str,
    *,
    round_: int,
    split: Split,
    sources: Collection[CompletionSource],
    prompt_ids: Collection[str],
    candidate: int = 0,
) -> list[CompletionRow]:
    """The completions of some prompts, by prompt, source and position; of a sweep's policies one candidate's."""
    query = select(*_COLUMNS).where(
        Completion.run_id == run_id,
        Completion.round == round_,
        Completion.candidate == candidate,
        Completion.split == split,
        Completion.source.in_(sources),
        among(Completion.prompt_id, prompt_ids),
    )
    rows = session.execute(query.order_by(Completion.prompt_id, Completion.source, Completion.position))
    return [CompletionRow(**row._mapping) for row in rows]


def completions_by_id(session: Session, ids: Collection[str]) -> dict[str, CompletionRow]:
    rows = session.execute(select(*_COLUMNS).where(among(Completion.id, ids)))
    return {row.id: CompletionRow(**row._mapping) for row in rows}


def set_rewards(session: Session, rewards: Mapping[str, Reward]) -> None:
    """Write the reward of each completion id."""
    rows = [{"id": id_, "reward": each.value, "reward_spread": each.spread} for id_, each in rewards.items()]
    if rows:
        session.execute(update(Completion), rows)
