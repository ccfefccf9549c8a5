"""What an evaluation reads in the answers themselves: which refuse, and examples for people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from app.repositories.completions import completions_by_id
from app.repositories.prompts import prompts_by_id
from app.rlaif.comparison import Answer
from app.rlaif.evidence import Example, Refusals
from app.rlaif.refusals import is_refusal, refusals
from app.rlaif.seeds import derive_seed
from workers.stages.contract import StageContext
from workers.stages.meeting import Meeting

SHOWN = {Answer.A: 3, Answer.B: 1, Answer.TIE: 1}
"""How many wins, losses and ties are shown as examples."""

TEXTS_AT_ONCE = 1000


def refusals_by_cohort(context: StageContext, meetings: Sequence[Meeting]) -> dict[str, Refusals]:
    """Of all answers, whether a judge compared them or not."""
    refused: dict[str, dict[str, list[tuple[bool, bool]]]] = defaultdict(lambda: defaultdict(list))
    for start in range(0, len(meetings), TEXTS_AT_ONCE):
        some = meetings[start : start + TEXTS_AT_ONCE]
        with context.read() as session:
            texts = completions_by_id(session, [side.id for item in some for side in (item.theirs, item.ours)])
        for item in some:
            base, policy = (is_refusal(texts[side.id].text) for side in (item.theirs, item.ours))
            refused[item.cohort][item.unit].append((base, policy))
    return {cohort: refusals(found) for cohort, found in sorted(refused.items())}


def examples(context: StageContext, meetings: Sequence[Meeting]) -> list[Example]:
    """A few wins, a loss and a tie, drawn by the run's seed and not by how well they look."""
    seed, round_ = context.work.recipe.seed, context.work.round
    drawn = sorted(meetings, key=lambda item: derive_seed(seed, round_, "example", item.unit, item.ours.position))
    chosen = [
        item
        for answer, count in SHOWN.items()
        for item in [meeting for meeting in drawn if meeting.outcome is answer][:count]
    ]
    with context.read() as session:
        texts = completions_by_id(session, [side.id for item in chosen for side in (item.ours, item.theirs)])
        prompts = prompts_by_id(session, [item.prompt_id for item in chosen])
    return [
        Example(
            prompt_id=item.prompt_id,
            cohort=item.cohort,
            prompt=prompts[item.prompt_id].messages,
            base=texts[item.theirs.id].text,
            policy=texts[item.ours.id].text,
            probability=item.probability,
        )
        for item in chosen
    ]
