"""What people answered about a stage's comparisons, blended into what is believed of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from app.repositories.annotation_queues import people_said
from app.rlaif.blending import Blended, PeopleSaid, blend
from app.rlaif.preferences import Preference, answer_counts, heed
from app.rlaif.sections import PeopleConfig
from workers.stages.compare import Compared
from workers.stages.contract import StageContext

NOBODY = PeopleSaid((), None)


def with_people(
    context: StageContext, beliefs: Sequence[tuple[Compared, Preference]]
) -> list[tuple[Compared, Preference]]:
    """The beliefs once people are heard, as `prefer.people` says; the same beliefs where it names no queue."""
    config = context.work.recipe.prefer
    if config.people is None:
        return list(beliefs)
    with context.read() as session:
        said = people_said(session, config.people.queue, [item.row.id for item, _ in beliefs])
    return [
        (item, heed(belief, blend(belief.probability, said.get(item.row.id, NOBODY), config.people), config))
        for item, belief in beliefs
    ]


def people_provenance(blended: Blended, config: PeopleConfig) -> dict[str, Any]:
    """By which policy people were heard, how many they are, what they and the judge said."""
    return {
        "queue_id": config.queue,
        "policy": config.policy,
        "judge_votes": config.judge_votes if config.policy == "weighted" else None,
        "heeded": blended.heeded,
        "annotators": len(blended.said.answers),
        "answers": asdict(answer_counts(blended.said.answers)),
        "settled": blended.said.settled,
        "judged": blended.judged,
    }
