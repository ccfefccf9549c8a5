"""How a run goes from round to round, and how the rounds end; the figures are made up here."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import (
    Checkpoint,
    CheckpointKind,
    Evaluation,
    Event,
    Judge,
    Run,
    RunStatus,
    Stage,
    StageStatus,
)
from app.rlaif.pipeline import PhaseName
from app.rlaif.recipe import StageKind
from app.services import engine
from app.services.engine import Cause, Claim
from app.services.engine.rounds import RoundNotMeasured
from tests.integration.engine.conftest import Hands
from tests.runs import submit
from tests.unit.test_report import evaluation

ROUND = (
    StageKind.SAMPLE,
    StageKind.JUDGE,
    StageKind.PREFER,
    StageKind.REWARD_MODEL,
    StageKind.POLICY,
    StageKind.EVALUATE,
)


def start(session: Session, **rounds: Any) -> Run:
    return submit(session, shards=1, held_out=1, stop_after="evaluate", rounds={"count": 3, **rounds})


def stages(session: Session, run: Run) -> list[tuple[int, StageKind, StageStatus]]:
    query = select(Stage.round, Stage.kind, Stage.status).where(Stage.run_id == run.id)
    found = session.execute(query.order_by(Stage.round, Stage.position))
    return [(round_, kind, status) for round_, kind, status in found]


def statuses(session: Session, run: Run, round_: int) -> set[StageStatus]:
    return {status for each, _, status in stages(session, run) if each == round_}


def policies(session: Session, run: Run) -> list[Checkpoint]:
    query = select(Checkpoint).where(Checkpoint.run_id == run.id).order_by(Checkpoint.round)
    return list(session.scalars(query.execution_options(populate_existing=True)))


def measure(session: Session, run: Run, round_: int, win_rate: float, *, kl: float = 1.0, **gates: Any) -> None:
    """What a round's stages leave: its policy, and how that was measured."""
    judge = Judge(id=new_id(Kind.JUDGE), project_id=run.project_id, name=new_id(Kind.JUDGE), kind="checks")
    judge.family, judge.spec = "checks", {"kind": "checks"}
    checkpoint = Checkpoint(
        id=new_id(Kind.CHECKPOINT), project_id=run.project_id, run_id=run.id, round=round_, kind=CheckpointKind.POLICY
    )
    checkpoint.step, checkpoint.storage_key, checkpoint.digest = 1, "key", "0" * 64
    checkpoint.manifest, checkpoint.metrics, checkpoint.lineage, checkpoint.size_bytes = {}, {}, {}, 1
    session.add_all([judge, checkpoint])
    session.flush()
    rate = {"value": win_rate, "low": max(win_rate - 0.1, 0), "high": min(win_rate + 0.1, 1), "confidence": 0.95}
    figure = {"value": kl, "low": kl, "high": kl, "n": 1}
    metrics = evaluation(
        win_rate={**rate, "n_prompts": 1, "wins": 1, "ties": 0, "losses": 0, "length_controlled": None},
        divergence={"kl": figure, "length_ratio": {**figure, "value": 1.0, "low": 1.0, "high": 1.0}, "left_out": 0},
        promotion={"promoted": True, "reasons": []} | gates,
    )
    row = Evaluation(id=new_id(Kind.EVALUATION), project_id=run.project_id, run_id=run.id, round=round_)
    row.checkpoint_id, row.judge_id, row.metrics = checkpoint.id, judge.id, metrics
    session.add(row)
    session.flush()


def play(session: Session, hands: Hands, run: Run, *win_rates: float, **figures: Any) -> None:
    """Work off so many rounds, or until the run has ended."""
    for round_, win_rate in enumerate(win_rates):
        while (claim := hands.claim(run)).kind is not StageKind.EVALUATE or claim.phase is not PhaseName.MEASURE:
            assert claim.round == round_
            hands.complete(claim)
        measure(session, run, round_, win_rate, **figures)
        hands.complete(claim)


class TestCourse:
    def test_every_round_has_its_stages_from_the_start(self, session: Session) -> None:
        run = start(session)

        assert [(round_, kind) for round_, kind, _ in stages(session, run)] == [
            (round_, kind) for round_ in range(3) for kind in ROUND
        ]
        assert [status for *_, status in stages(session, run)][:2] == [StageStatus.RUNNING, StageStatus.PENDING]

    def test_a_round_opens_when_the_one_before_has_ended(self, session: Session, hands: Hands) -> None:
        run = start(session)

        play(session, hands, run, 0.6)

        assert statuses(session, run, 0) == {StageStatus.SUCCEEDED}
        assert (1, StageKind.SAMPLE, StageStatus.RUNNING) in stages(session, run)
        assert hands.claim(run).round == 1
        assert "rounds.stopped" not in hands.events(run)
        assert [row.promoted for row in policies(session, run)] == [None]  # decided at the end of all rounds

    def test_all_rounds(self, session: Session, hands: Hands) -> None:
        run = start(session)

        play(session, hands, run, 0.6, 0.7, 0.8)

        assert hands.reload(run).status is RunStatus.SUCCEEDED
        assert {status for *_, status in stages(session, run)} == {StageStatus.SUCCEEDED}
        assert [row.promoted for row in policies(session, run)] == [False, False, True]
        assert hands.events(run)[-5:] == [
            "rounds.stopped",
            "checkpoint.held_back",
            "checkpoint.held_back",
            "checkpoint.promoted",
            "run.succeeded",
        ]

    @pytest.mark.parametrize(
        ("rounds", "win_rates", "kl", "reason", "promoted"),
        [
            ({}, (0.6, 0.6), 1.0, "no_improvement", [True, False]),
            ({"minimum_improvement": 0.2}, (0.71, 0.8), 1.0, "no_improvement", [False, True]),
            ({}, (0.4,), 1.0, "no_improvement", [True]),
            ({"maximum_kl": 0.5}, (0.9,), 1.0, "maximum_kl", [False]),
        ],
    )
    def test_an_early_end_skips_the_rest_and_succeeds(
        self,
        session: Session,
        hands: Hands,
        rounds: dict[str, Any],
        win_rates: tuple[float, ...],
        kl: float,
        reason: str,
        promoted: list[bool],
    ) -> None:
        run = start(session, **rounds)

        play(session, hands, run, *win_rates, kl=kl)

        assert hands.reload(run).status is RunStatus.SUCCEEDED
        for round_ in range(3):
            expected = StageStatus.SUCCEEDED if round_ < len(win_rates) else StageStatus.SKIPPED
            assert statuses(session, run, round_) == {expected}
        assert not hands.queued(run)
        (event,) = session.scalars(select(Event).where(Event.run_id == run.id, Event.type == "rounds.stopped"))
        assert (event.data["round"], event.data["reason"]) == (len(win_rates) - 1, reason)
        assert [each["win_rate"] for each in event.data["figures"]] == list(win_rates)
        assert [row.promoted for row in policies(session, run)] == promoted

    def test_the_best_round_is_held_back_by_its_gates(self, session: Session, hands: Hands) -> None:
        run = start(session)
        reason = {"gate": "minimum_win_rate", "held": False, "detail": "at least 0.9 was asked"}

        play(session, hands, run, 0.6, 0.5, promoted=False, reasons=[reason])

        first, second = policies(session, run)
        assert (first.promoted, first.promotion_reasons) == (False, [reason])
        assert [each["gate"] for each in second.promotion_reasons or []] == ["minimum_win_rate", "best_round"]

    def test_an_evaluation_that_left_nothing_is_an_error(self, session: Session, hands: Hands) -> None:
        run = start(session)
        while (claim := hands.claim(run)).phase is not PhaseName.MEASURE or claim.kind is not StageKind.EVALUATE:
            hands.complete(claim)

        with pytest.raises(RoundNotMeasured, match="round 0"):
            hands.complete(claim)


class TestSteering:
    def test_a_failure_in_a_later_round_is_retried_there(self, session: Session, hands: Hands) -> None:
        run = start(session)
        play(session, hands, run, 0.6)
        self.fail(session, hands.claim(run))
        assert hands.reload(run).status is RunStatus.FAILED
        assert (1, StageKind.SAMPLE, StageStatus.FAILED) in stages(session, run)
        assert statuses(session, run, 2) == {StageStatus.CANCELLED}

        engine.retry(session, run)
        assert statuses(session, run, 0) == {StageStatus.SUCCEEDED}
        assert statuses(session, run, 2) == {StageStatus.PENDING}
        claim = hands.claim(run)
        assert (claim.round, claim.kind) == (1, StageKind.SAMPLE)

    def test_a_cancel_between_rounds_ends_the_run(self, session: Session, hands: Hands) -> None:
        run = start(session)
        play(session, hands, run, 0.6)

        engine.request_cancel(session, run)

        assert hands.reload(run).status is RunStatus.CANCELLED
        assert statuses(session, run, 1) == statuses(session, run, 2) == {StageStatus.CANCELLED}

    def test_a_pause_between_rounds_goes_on_where_it_was(self, session: Session, hands: Hands) -> None:
        run = start(session)
        play(session, hands, run, 0.6)
        engine.request_pause(session, run, "a look")
        assert hands.try_claim(hands.queued(run)[0]) is None

        engine.resume(session, run)

        assert hands.claim(run).round == 1

    def test_a_wish_to_cancel_that_came_with_the_last_shard_is_heard(self, session: Session, hands: Hands) -> None:
        run = start(session)
        while (claim := hands.claim(run)).kind is not StageKind.EVALUATE or claim.phase is not PhaseName.MEASURE:
            hands.complete(claim)
        measure(session, run, 0, 0.4)
        engine.request_cancel(session, run)

        hands.complete(claim)

        assert hands.reload(run).status is RunStatus.CANCELLED
        assert StageStatus.SKIPPED not in {status for *_, status in stages(session, run)}

    @staticmethod
    def fail(session: Session, claim: Claim) -> None:
        cause = Cause("broken", "it is")
        assert engine.fail_attempt(session, claim.shard_id, claim.token, cause, retryable=False)
