"""How a run goes from stage to stage."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.ids import Kind, new_id
from app.db.models import Run, RunStatus, ShardStatus, Stage, StageStatus
from app.rlaif.recipe import Recipe, StageKind
from app.services import engine
from tests.integration.engine.conftest import Hands
from tests.runs import new_run, submit


def stages(session: Session, run: Run) -> list[tuple[StageKind, StageStatus]]:
    query = select(Stage.kind, Stage.status).where(Stage.run_id == run.id).order_by(Stage.position)
    return [(kind, status) for kind, status in session.execute(query)]


def metrics_of(session: Session, run: Run, kind: StageKind) -> dict[str, object]:
    return session.scalars(select(Stage.metrics).where(Stage.run_id == run.id, Stage.kind == kind)).one()


class TestStartRun:
    def test_makes_every_stage_and_the_first_shards(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=3, stop_after="prefer")

        assert stages(session, run) == [
            (StageKind.SAMPLE, StageStatus.RUNNING),
            (StageKind.JUDGE, StageStatus.PENDING),
            (StageKind.PREFER, StageStatus.PENDING),
        ]
        assert len(hands.queued(run)) == 3
        assert hands.rung(run) == sorted(hands.queued(run))
        assert hands.events(run) == ["run.queued"]

    def test_reused_stages_are_not_run(self, session: Session, hands: Hands) -> None:
        source = submit(session, shards=2, stop_after="judge")
        run = new_run(session, shards=2, stop_after="judge")
        session.add(
            Stage(
                id=new_id(Kind.STAGE),
                project_id=run.project_id,
                run_id=run.id,
                round=0,
                position=0,
                kind=StageKind.SAMPLE,
                status=StageStatus.REUSED,
                source_run_id=source.id,
            )
        )
        engine.start_run(session, run)

        assert stages(session, run) == [
            (StageKind.SAMPLE, StageStatus.REUSED),
            (StageKind.JUDGE, StageStatus.RUNNING),
        ]

    def test_a_stage_without_prompts_is_passed_over(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=0, stop_after="sample")

        assert stages(session, run) == [(StageKind.SAMPLE, StageStatus.SUCCEEDED)]
        assert run.status is RunStatus.SUCCEEDED


class TestAdvance:
    def test_the_whole_loop(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=2, held_out=1, stop_after="evaluate")

        hands.finish(run)

        assert hands.reload(run).status is RunStatus.SUCCEEDED
        assert {status for _, status in stages(session, run)} == {StageStatus.SUCCEEDED}
        assert [kind for kind, _ in stages(session, run)] == list(Recipe().stages())
        assert hands.shards(run) == hands.shards(run, ShardStatus.SUCCEEDED)
        events = hands.events(run)
        assert events[:3] == ["run.queued", "run.started", "stage.started"]
        assert events[-2:] == ["stage.succeeded", "run.succeeded"]
        assert events.count("stage.succeeded") == events.count("stage.started") == 6

    def test_the_next_phase_waits_for_every_shard(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=2, stop_after="judge")
        first, second = hands.claim(run), hands.claim(run)

        hands.complete(first)
        assert hands.queued(run) == []
        hands.complete(second)

        assert len(hands.queued(run)) == 2

    def test_imported_candidates_need_the_base_model_only_where_it_is_evaluated(
        self, session: Session, hands: Hands
    ) -> None:
        run = submit(session, shards=1, held_out=1, stop_after="sample", sample={"source": "prompt_set"})

        phases = [hands.shard(shard).queue for shard in hands.queued(run)]

        assert phases == ["io", "io"]
        assert hands.finish(run) == 2


class TestResults:
    def test_a_training_s_results_replace_its_last_step(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1, stop_after="reward_model")
        while (claim := hands.claim(run)).kind is not StageKind.REWARD_MODEL:
            hands.complete(claim)
        reports = [engine.Report(9, 9, {"loss": 0.2, "accuracy": 0.9})]
        engine.record(session, claim.shard_id, claim.token, reports=reports, seconds=1)
        assert metrics_of(session, run, StageKind.REWARD_MODEL) == {"loss": 0.2, "accuracy": 0.9}

        hands.complete(claim, units=9, accuracy=0.8)

        assert metrics_of(session, run, StageKind.REWARD_MODEL) == {"accuracy": 0.8}

    def test_an_evaluation_s_phases_hand_on_what_they_measured(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=1, held_out=1, stop_after="evaluate")
        while (claim := hands.claim(run)).kind is not StageKind.EVALUATE:
            hands.complete(claim)
        for measured in ({"completions": 3}, {"reward": 1.5}, {}, {"win_rate": 0.7}):
            hands.complete(claim, **measured)
            if hands.queued(run):
                claim = hands.claim(run)

        measured = {"completions": 3, "reward": 1.5, "win_rate": 0.7}
        assert metrics_of(session, run, StageKind.EVALUATE) == measured


class TestCounts:
    def test_counts_of_ranges_add_up(self, session: Session, hands: Hands) -> None:
        run = submit(session, shards=2, stop_after="sample")
        for _ in range(2):
            hands.complete(hands.claim(run), units=1, tokens=5)

        stage = session.scalars(select(Stage).where(Stage.run_id == run.id)).one()

        assert (stage.done_shards, stage.total_shards) == (2, 2)
        assert (stage.done_units, stage.total_units) == (2, 2)
        assert stage.metrics == {"tokens": 10}
