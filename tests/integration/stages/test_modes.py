"""Every way to ask a judge, against a real endpoint: the same promises as pairs, one by one."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from app.db.ids import Kind, new_id
from app.db.models import Comparison, Completion, Preference, Run, RunStatus, Score, Stage, Verdict
from app.rlaif.comparison import Answer, InvalidReason, Order
from app.rlaif.modes import Mode
from app.rlaif.points import preferred
from app.rlaif.recipe import StageKind
from app.services import engine
from tests.integration.stages.endpoint import RunningJudge
from tests.integration.stages.in_process import Watch
from tests.integration.stages.test_judging import RECIPE
from tests.integration.stages.world import World
from workers.stages.contract import GiveBack

TEXTS = (
    "Thank you for asking. It is so.",
    "It is so, and it goes on and on and on for a very long while, which nobody had asked for, had they?",
    "Thank you, and it goes on and on and on for a very long while, which nobody had asked for, had they?",
)
PROMPTS, PAIRS, CRITERIA = 4, 3, 2
RUBRIC: dict[str, Any] = {
    "criteria": [
        {"name": "polite", "description": "Is polite.", "weight": 3.0},
        {"name": "brief", "description": "Is brief.", "anchors": [{"score": 1, "description": "Rambles."}]},
    ],
    "principles": ["Be kind.", "Be exact.", "Be brief."],
}


@dataclass(frozen=True)
class Asked:
    """What a mode makes of PROMPTS prompts with three completions each."""

    mode: Mode
    calls: int
    answers: int
    table: type[Verdict] | type[Score]


MODES = [
    Asked(Mode.PAIRWISE, PROMPTS * PAIRS * 2, PROMPTS * PAIRS * 2, Verdict),
    Asked(Mode.PER_CRITERION, PROMPTS * PAIRS * 2 * CRITERIA, PROMPTS * PAIRS * 2 * CRITERIA, Verdict),
    Asked(Mode.LISTWISE, PROMPTS * 2, PROMPTS * PAIRS * 2, Verdict),
    Asked(Mode.POINTWISE, PROMPTS * len(TEXTS) * 2, PROMPTS * len(TEXTS) * 2, Score),
]


@pytest.fixture(params=MODES, ids=lambda asked: asked.mode.value)
def asked(request: pytest.FixtureRequest) -> Asked:
    found: Asked = request.param
    return found


@pytest.fixture
def endpoint() -> Iterator[RunningJudge]:
    with RunningJudge() as running:
        yield running


def begun(world: World, endpoint: RunningJudge, mode: Mode, *texts: str, **recipe: Any) -> str:
    """A run whose judge stage is next; what it asks, no other run has asked."""
    nonce = new_id(Kind.PROMPT)
    prompts = [
        {
            "id": f"p{number}",
            "messages": [{"role": "user", "content": f"Is it so, for the {number}th time, {nonce}?"}],
            "cohort": "helpfulness",
            "split": "train",
            "candidates": list(texts or TEXTS),
        }
        for number in range(PROMPTS)
    ]
    plain, world.rubric = world.rubric, world.add_rubric(RUBRIC)
    judge = {"mode": mode.value, "prompts_per_shard": 100} | recipe.pop("judge", {})
    spec = endpoint.spec(**recipe.pop("spec", {}))
    run_id = world.add_run(RECIPE | {"judge": judge} | recipe, world.add_prompts(prompts), judge=world.add_judge(spec))
    world.rubric = plain
    shard_id = world.next_shard(run_id)
    assert shard_id is not None
    world.work_off(shard_id)
    return run_id


class TestEveryMode:
    def test_every_unit_is_asked_once_in_each_order(self, world: World, endpoint: RunningJudge, asked: Asked) -> None:
        run_id = begun(world, endpoint, asked.mode)
        assert world.drive(run_id).status is RunStatus.SUCCEEDED
        rows = world.rows(asked.table, run_id)
        assert Counter(row.order for row in rows) == dict.fromkeys(Order, asked.answers // 2)
        hashes = [call["prompt_hash"] for call in endpoint.judge.calls]
        assert len(hashes) == len(set(hashes)) == asked.calls
        assert {row.prompt_hash for row in rows} == set(hashes)

    def test_the_better_completion_is_believed_better(self, world: World, endpoint: RunningJudge, asked: Asked) -> None:
        """By the endpoint's own rubric the first text is polite and brief, the second neither."""
        run_id = begun(world, endpoint, asked.mode)
        world.drive(run_id)
        believed = [(first, second, row) for (_, first, second), row in world.preferences(run_id).items()]
        assert len(believed) == PROMPTS * PAIRS
        for first, second, (_, probability, _, _) in believed:
            if {first, second} == {0, 1}:
                assert (probability > 0.5) is (first == 0)

    def test_costs_are_those_of_the_calls(self, world: World, endpoint: RunningJudge, asked: Asked) -> None:
        run_id = begun(world, endpoint, asked.mode)
        world.drive(run_id)
        rows, stage = world.rows(asked.table, run_id), world.stage(run_id, StageKind.JUDGE)
        assert stage.judge_usd == sum(row.cost_usd for row in rows) > 0
        assert stage.judge_calls == sum(row.attempts for row in rows) == asked.calls
        assert stage.prompt_tokens == sum(row.prompt_tokens for row in rows)
        assert stage.metrics["coverage"] == 1.0

    def test_a_stop_keeps_what_was_answered(self, world: World, endpoint: RunningJudge, asked: Asked) -> None:
        run_id = begun(world, endpoint, asked.mode)
        work = world.claim(world.next_shard(run_id) or "")
        with pytest.raises(GiveBack):
            world.execute(work, progress=Watch(stop_after=4))
        assert 0 < len(endpoint.judge.calls) < asked.calls
        assert sum(row.attempts for row in world.rows(asked.table, run_id)) == len(endpoint.judge.calls)
        world.release(work)
        world.drive(run_id)
        assert len(endpoint.judge.calls) == asked.calls
        assert len(world.rows(asked.table, run_id)) == asked.answers

    def test_killed_at_every_transaction_it_believes_the_same(
        self, world: World, endpoint: RunningJudge, asked: Asked, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("workers.stages.ledger.STORED_AT_ONCE", 5)
        run_id = begun(world, endpoint, asked.mode)
        assert world.drive_killed(run_id) > 2
        rows = world.rows(asked.table, run_id)
        assert len(rows) == asked.answers
        assert world.get(Run, run_id).status is RunStatus.SUCCEEDED
        assert {row[1] is None for row in world.preferences(run_id).values()} == {False}

    def test_done_twice_a_shard_adds_nothing(self, world: World, endpoint: RunningJudge, asked: Asked) -> None:
        run_id = begun(world, endpoint, asked.mode)
        work = world.claim(world.next_shard(run_id) or "")
        outcome = world.execute(work)
        spent = world.get(Stage, work.stage_id).judge_usd
        assert world.execute(work) == outcome
        assert len(endpoint.judge.calls) == asked.calls
        assert len(world.rows(asked.table, run_id)) == asked.answers
        assert world.get(Stage, work.stage_id).judge_usd == spent

    def test_invalid_never_becomes_a_preference(self, world: World, endpoint: RunningJudge, asked: Asked) -> None:
        run_id = begun(world, endpoint, asked.mode, *TEXTS[:2], "[[fault:rambling]]", judge={"minimum_coverage": 0.0})
        world.drive(run_id)
        invalid = [row for row in world.rows(asked.table, run_id) if row.invalid_reason is not None]
        assert {row.invalid_reason for row in invalid} == {InvalidReason.PARSE}
        touched = 3 if asked.mode is Mode.LISTWISE else 1  # a ranking of three fails for all of its pairs
        assert len(invalid) == asked.answers * (touched if asked.table is Score else max(2, touched)) // 3
        dropped = [row for (_, *places), row in world.preferences(run_id).items() if 2 in places]
        assert {(row[1], row[3]) for row in dropped} == {(None, "no_valid_verdict")}

    def test_a_retry_asks_again_what_the_endpoint_left_open(
        self, world: World, endpoint: RunningJudge, asked: Asked
    ) -> None:
        endpoint.judge.script.faults.extend(["garbage"] * asked.calls)
        run = world.drive(begun(world, endpoint, asked.mode))
        assert (run.error or {})["code"] == "coverage_below_floor"
        with world.sessions.begin() as session:
            engine.retry(session, session.get_one(Run, run.id))
        assert world.drive(run.id).status is RunStatus.SUCCEEDED
        assert len(endpoint.judge.calls) == asked.calls * 2
        assert {row.invalid_reason for row in world.rows(asked.table, run.id)} == {None}

    def test_structured_answers_say_the_same(self, world: World, endpoint: RunningJudge, asked: Asked) -> None:
        plain = begun(world, endpoint, asked.mode)
        structured = begun(world, endpoint, asked.mode, spec={"answer_format": "json_schema", "max_tokens": 64})
        for run_id in (plain, structured):
            assert world.drive(run_id).status is RunStatus.SUCCEEDED
        one, other = world.preferences(plain), world.preferences(structured)
        assert {key: row[1] for key, row in one.items()} == pytest.approx({key: row[1] for key, row in other.items()})


class TestPerCriterion:
    def test_each_question_shows_one_criterion_and_keeps_its_weight(self, world: World, endpoint: RunningJudge) -> None:
        run_id = begun(world, endpoint, Mode.PER_CRITERION)
        world.drive(run_id)
        weights = {(row.criterion, row.weight) for row in world.rows(Verdict, run_id)}
        assert weights == {("polite", 3.0), ("brief", 1.0)}

    def test_a_criterion_without_an_answer_leaves_no_belief(self, world: World, endpoint: RunningJudge) -> None:
        endpoint.judge.script.faults.extend(["rambling"] * 2)  # the reply and its repair
        run_id = begun(world, endpoint, Mode.PER_CRITERION, spec={"max_concurrency": 1})
        world.drive(run_id)
        dropped = [row.drop_reason for row in world.rows(Preference, run_id) if row.drop_reason]
        assert dropped == ["one_order"]


class TestListwise:
    def test_a_large_set_is_cut_into_groups_that_are_compared_within(
        self, world: World, endpoint: RunningJudge
    ) -> None:
        texts = [f"{'Thank you. ' * (number % 2)}It is so, {number} times." for number in range(10)]
        run_id = begun(world, endpoint, Mode.LISTWISE, *texts)
        assert world.drive(run_id).status is RunStatus.SUCCEEDED
        assert len(world.rows(Comparison, run_id)) == PROMPTS * 2 * 10  # two groups of five
        assert len(endpoint.judge.calls) == PROMPTS * 2 * 2
        members: dict[str, set[str]] = defaultdict(set)
        for row in world.rows(Comparison, run_id):
            members[row.first_id].add(row.second_id)
            members[row.second_id].add(row.first_id)
        assert {len(met) for met in members.values()} == {4}

    def test_members_of_a_group_are_judged_by_one_principle(self, world: World, endpoint: RunningJudge) -> None:
        run_id = begun(world, endpoint, Mode.LISTWISE)
        principles: dict[str, set[str | None]] = defaultdict(set)
        for row in world.rows(Comparison, world.drive(run_id).id):
            principles[row.prompt_id].add(row.principle)
        assert {len(found) for found in principles.values()} == {1}


class TestPointwise:
    def test_preferences_follow_the_ratings(self, world: World, endpoint: RunningJudge) -> None:
        run_id = begun(world, endpoint, Mode.POINTWISE)
        world.drive(run_id)
        assert world.rows(Verdict, run_id) == []
        points: dict[str, list[float]] = defaultdict(list)
        for score in world.rows(Score, run_id):
            assert score.points is not None
            points[score.completion_id].append(score.points)
        places = {row.id: (row.prompt_id, row.position) for row in world.rows(Completion, run_id)}
        rated = {places[id_]: sum(values) / 2 for id_, values in points.items()}
        for preference in world.rows(Preference, run_id):
            comparison = world.get(Comparison, preference.comparison_id)
            first, second = rated[places[comparison.first_id]], rated[places[comparison.second_id]]
            assert preference.probability == pytest.approx(preferred(first, second), abs=1e-6)
            assert preference.provenance["answers"]["invalid"] == 0

    def test_a_rating_is_the_mean_of_what_could_have_been_said(self, world: World, endpoint: RunningJudge) -> None:
        """The endpoint says its number with probability 0.8 and 5 with 0.2."""
        run_id = begun(world, endpoint, Mode.POINTWISE)
        world.drive(run_id)
        for score in world.rows(Score, run_id):
            assert score.points == pytest.approx(0.8 * int(str(score.raw_text)) + 0.2 * 5)


def test_a_raw_ranking_is_kept_with_each_of_its_verdicts(world: World, endpoint: RunningJudge) -> None:
    run_id = begun(world, endpoint, Mode.LISTWISE)
    world.drive(run_id)
    rows = world.rows(Verdict, run_id)
    assert all(list(json.loads(str(row.raw_text))) == ["ranking"] for row in rows)
    assert {row.answer for row in rows} == {Answer.A, Answer.B}
