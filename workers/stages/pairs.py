"""The preferences that training reads, as pairs, and the digest that names exactly these pairs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from app.db.models import Split
from app.repositories.preferences import trainable_preferences
from app.rlaif.recipe import StageKind
from workers.stages.contract import StageContext
from workers.stages.inputs import StageInputs
from workers.training.contracts import Demonstration, PreferencePair


def preference_pairs(context: StageContext, inputs: StageInputs, *, split: Split) -> list[PreferencePair]:
    """Every pair that was kept. Its id names the prompt and the completions, so that training orders pairs alike in
    every run of the same recipe."""
    run_id = inputs.behind[StageKind.PREFER]
    with context.read() as session:
        rows = list(trainable_preferences(session, run_id, round_=context.work.round, split=split))
    return [
        PreferencePair(
            id=row.unit,
            prompt=row.messages,
            first=row.first,
            second=row.second,
            probability=row.probability,
            weight=row.weight,
            tools=row.tools,
        )
        for row in rows
    ]


def digest_of(pairs: Sequence[PreferencePair]) -> str:
    """SHA-256 over ids, texts, labels and weights, in the order of the ids."""
    digest = hashlib.sha256()
    for pair in sorted(pairs, key=lambda pair: pair.id):
        fields = [pair.id, pair.first, pair.second, pair.probability, pair.weight]
        digest.update(json.dumps(fields).encode() + b"\n")
    return digest.hexdigest()


def digest_of_demonstrations(demonstrations: Sequence[Demonstration]) -> str:
    """SHA-256 over ids and texts, in the order of the ids."""
    digest = hashlib.sha256()
    for each in sorted(demonstrations, key=lambda demonstration: demonstration.id):
        digest.update(json.dumps([each.id, each.completion, each.finished]).encode() + b"\n")
    return digest.hexdigest()
