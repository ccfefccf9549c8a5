"""What a run's stages would have produced: rows in the database, files in the store."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import (
    Checkpoint,
    CheckpointKind,
    Comparison,
    Completion,
    CompletionSource,
    Evaluation,
    Preference,
    Prompt,
    Purpose,
    RevisedAnswer,
    Run,
    Score,
    Split,
    Verdict,
)
from app.rlaif.comparison import Answer, InvalidReason, Order
from app.rlaif.critique import Ending
from app.storage import ArtifactStore

FIGURES: dict[str, dict[str, Any]] = {
    "judge": {
        "verdicts": 40,
        "coverage": 0.9,
        "invalid": {"parse": 3, "refusal": 1},
        "position_consistency": 0.95,
        "first_position_preference": 0.05,
        "prefer_longer_share": 0.4,
    },
    "prefer": {
        "comparisons": 20,
        "kept": 17,
        "comparisons_train": 16,
        "kept_train": 14,
        "dropped": {"identical": 3},
        "ties": 2,
        "mean_margin": 0.6,
    },
    "reward_model": {
        "held_out_accuracy": {"value": 0.8, "low": 0.7, "high": 0.9, "confidence": 0.95, "n": 80},
        "prefer_longer_accuracy": 0.45,
        "shorter_right_accuracy": 0.8,
        "ece": 0.05,
        "length_correlation": -0.1,
        "train_pairs": 17,
        "held_out_pairs": 80,
        "truncated_pairs": 3,
        "identical_pairs": 1,
        "overlong_prompts": 2,
        "held_out_left_out": 4,
        "resumed_from": None,
        "rejected_states": [],
        "loss": 0.4,
    },
}
WIN_RATE: dict[str, Any] = {
    "value": 0.78,
    "low": 0.71,
    "high": 0.84,
    "confidence": 0.95,
    "n_prompts": 96,
    "wins": 72,
    "ties": 6,
    "losses": 18,
}
EVALUATION: dict[str, Any] = {
    "win_rate": WIN_RATE,
    "by_cohort": {"helpfulness": WIN_RATE},
    "control": {**WIN_RATE, "value": 0.5, "low": 0.44, "high": 0.56},
    "judge": {**FIGURES["judge"], "coverage": 1.0, "invalid": {}},
    "length": {
        "policy_mean_tokens": 20.0,
        "base_mean_tokens": 22.0,
        "difference_mean": -2.0,
        "longer_wins_share": 0.4,
    },
    "reward": {"policy_mean": 1.0, "base_mean": -0.5, "difference": 1.5, "win_rate": 0.8},
    "disagreement_with_training_judge": 0.1,
    "circular": False,
    "examples": [
        {
            "prompt_id": "prompt_x",
            "cohort": "helpfulness",
            "prompt": [{"role": "user", "content": "What are tides?"}],
            "base": "Water.",
            "policy": "The pull of the moon.\n# Not a heading\n\x1b[31mred",
            "probability": 0.9,
        }
    ],
}
NASTY = 'a "quoted"\nline, a tab\t, an emoji \U0001f642 and a \ufffd'


@dataclass(frozen=True)
class Produced:
    """Ids by kind, in the order of their making."""

    completions: list[str]
    comparisons: list[str]
    verdicts: list[str]
    preferences: list[str]
    scores: list[str] = field(default_factory=list)
    revisions: list[str] = field(default_factory=list)


def label(session: Session, run_id: str) -> Produced:
    """For every prompt a revised answer, two completions, a comparison, both orders of one judge and a preference.

    The first train prompt's preference leans to its second completion, the second's is even, the third's is dropped.
    """
    run = session.get_one(Run, run_id)
    rows = Produced([], [], [], [])
    query = select(Prompt).where(Prompt.prompt_set_id == run.prompt_set_id).order_by(Prompt.position)
    for number, prompt in enumerate(session.scalars(query)):
        steps = [_revision(run, prompt, step) for step in range(2)]
        pair = [_completion(run, prompt, position) for position in range(2)]
        purpose = Purpose.TRAIN if prompt.split is Split.TRAIN else Purpose.HELD_OUT
        comparison = _comparison(run, prompt, pair, purpose)
        probability = {0: 0.2, 1: 0.5, 2: None}.get(number, 0.9)
        verdicts = [_verdict(run, comparison, order, probability) for order in Order]
        preference = _preference(run, comparison, prompt, probability)
        score = _score(run, pair[0], None if number == 2 else 7.4)
        for made in (steps, pair, [comparison], verdicts, [preference], [score]):
            session.add_all(made)
            session.flush()
        rows.revisions.extend(row.id for row in steps)
        rows.completions.extend(row.id for row in pair)
        rows.comparisons.append(comparison.id)
        rows.verdicts.extend(row.id for row in verdicts)
        rows.preferences.append(preference.id)
        rows.scores.append(score.id)
    return rows


def evaluate(session: Session, run_id: str) -> Produced:
    """A policy completion for every held-out prompt, compared with itself swapped for the base's where there is one."""
    run = session.get_one(Run, run_id)
    rows = Produced([], [], [], [])
    query = select(Prompt).where(Prompt.prompt_set_id == run.prompt_set_id, Prompt.split == Split.HELD_OUT)
    for prompt in session.scalars(query.order_by(Prompt.position)):
        pair = [_completion(run, prompt, position, CompletionSource.POLICY) for position in range(2)]
        comparison = _comparison(run, prompt, pair, Purpose.EVALUATION)
        verdict = _verdict(run, comparison, Order.AB, 0.7, judge_id=run.evaluation_judge_id)
        for made in (pair, [comparison], [verdict]):
            session.add_all(made)
            session.flush()
        rows.completions.extend(row.id for row in pair)
        rows.comparisons.append(comparison.id)
        rows.verdicts.append(verdict.id)
    return rows


def publish(session: Session, store: ArtifactStore, run_id: str, source: Path, kind: CheckpointKind) -> str:
    """A checkpoint of the files in `source`."""
    run, id_ = session.get_one(Run, run_id), new_id(Kind.CHECKPOINT)
    manifest = store.publish(f"checkpoints/{id_}", source)
    session.add(
        Checkpoint(
            id=id_,
            project_id=run.project_id,
            run_id=run_id,
            round=0,
            kind=kind,
            step=8,
            storage_key=f"checkpoints/{id_}",
            manifest=manifest.as_dict(),
            digest=manifest.digest,
            size_bytes=manifest.size,
            metrics={"loss": 0.3},
            lineage={"run": run_id},
        )
    )
    session.flush()
    return id_


def measure(session: Session, run_id: str, checkpoint_id: str) -> None:
    """The evaluation of a policy checkpoint."""
    run = session.get_one(Run, run_id)
    session.add(
        Evaluation(
            id=new_id(Kind.EVALUATION),
            project_id=run.project_id,
            run_id=run_id,
            round=0,
            checkpoint_id=checkpoint_id,
            judge_id=run.evaluation_judge_id,
            metrics=EVALUATION,
        )
    )
    session.flush()


def _revision(run: Run, prompt: Prompt, step: int) -> RevisedAnswer:
    return RevisedAnswer(
        id=new_id(Kind.REVISED_ANSWER),
        project_id=run.project_id,
        run_id=run.id,
        split=prompt.split,
        prompt_id=prompt.id,
        step=step,
        principle=NASTY if step else None,
        critique=NASTY if step else None,
        text=f"{step} of {prompt.external_id}: {NASTY}",
        finish_reason=Ending.STOP,
        prompt_tokens=5,
        critique_tokens=9 if step else None,
        tokens=7,
        critique_seed=2**62 if step else None,
        seed=2**62 + step,
    )


def _completion(
    run: Run, prompt: Prompt, position: int, source: CompletionSource = CompletionSource.BASE
) -> Completion:
    return Completion(
        id=new_id(Kind.COMPLETION),
        project_id=run.project_id,
        run_id=run.id,
        round=0,
        split=prompt.split,
        source=source,
        prompt_id=prompt.id,
        position=position,
        text=f"{position} of {prompt.external_id}: {NASTY}",
        finish_reason="stop",
        prompt_tokens=5,
        tokens=None if position else 7,
        seed=2**62 + position,
    )


def _comparison(run: Run, prompt: Prompt, pair: list[Completion], purpose: Purpose) -> Comparison:
    return Comparison(
        id=new_id(Kind.COMPARISON),
        project_id=run.project_id,
        run_id=run.id,
        round=0,
        purpose=purpose,
        prompt_id=prompt.id,
        first_id=pair[0].id,
        second_id=pair[1].id,
    )


def _verdict(
    run: Run, comparison: Comparison, order: Order, probability: float | None, judge_id: str | None = None
) -> Verdict:
    missing = probability is None
    return Verdict(
        id=new_id(Kind.VERDICT),
        project_id=run.project_id,
        run_id=run.id,
        comparison_id=comparison.id,
        judge_id=judge_id or run.judge_id,
        order=order,
        answer=Answer.INVALID if missing else Answer.A,
        probability=probability,
        invalid_reason=InvalidReason.PARSE if missing else None,
        raw_text=NASTY,
        cost_usd=0.000125,
        scores=None if missing else {"short": [1.0, 0.5]},
    )


def _score(run: Run, completion: Completion, points: float | None) -> Score:
    return Score(
        id=new_id(Kind.SCORE),
        project_id=run.project_id,
        run_id=run.id,
        completion_id=completion.id,
        judge_id=run.judge_id,
        order=Order.AB,
        points=points,
        invalid_reason=None if points else InvalidReason.TIMEOUT,
        raw_text=NASTY,
        cost_usd=0.000125,
    )


def _preference(run: Run, comparison: Comparison, prompt: Prompt, probability: float | None) -> Preference:
    return Preference(
        id=new_id(Kind.PREFERENCE),
        project_id=run.project_id,
        run_id=run.id,
        round=0,
        comparison_id=comparison.id,
        split=prompt.split,
        probability=probability,
        weight=0.1 if probability == 0.5 else 1.0,
        drop_reason="no_valid_verdict" if probability is None else None,
        provenance={"answers": {"A": 2}},
    )
