"""A trial and a golden test, worked off against a real endpoint: what is shown is what was asked, to the letter."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pytest

from app.db.ids import Kind, new_id
from app.db.models import Comparison, Completion, Run, RunStatus, Verdict
from app.db.session import WriteSession
from app.repositories.trials import Trial, TriedAnswer
from app.rlaif.comparison import Answer, InvalidReason, Order
from app.rlaif.golden_outcome import OutcomeKind, summary
from app.rlaif.messages import Message, Role
from app.rlaif.pairwise import PairQuestion
from app.rlaif.rendering import Case, Response, prompt_hash
from app.rlaif.rubric import Rubric
from app.schemas.trial import GoldenTestIn, TrialIn, TrialOut
from app.services import rubrics, trials
from app.services.delimiters import delimiter_key
from tests.integration.stages.endpoint import RunningJudge
from tests.integration.stages.labelled import add_composite
from tests.integration.stages.world import World

POLITE, RUDE = "Thank you for asking. It is so.", "It is so."
PAIR: dict[str, Any] = {"prompt": "Is it so?", "first": POLITE, "second": RUDE}
CONTENT: dict[str, Any] = {
    "criteria": [
        {
            "name": "polite",
            "description": "Thanks the person.",
            "check": {"kind": "words", "any_of": ["thank you"]},
            "anchors": [{"score": 1, "description": "Insults."}, {"score": 10, "description": "Thanks warmly."}],
        },
        {"name": "brief", "description": "At most twenty words.", "weight": 0.5},
    ],
    "principles": ["Prefer what a child understands.", "Prefer what does no harm."],
}


@pytest.fixture
def endpoint() -> Iterator[RunningJudge]:
    with RunningJudge() as running:
        yield running


class Tried:
    """A rubric of its own in the world's project, tried to the end."""

    def __init__(self, world: World, **content: Any) -> None:
        self.world = world
        with world.sessions.begin() as session:
            content = CONTENT | content
            made = rubrics.create(
                WriteSession(session), world.project, name=new_id(Kind.RUBRIC), content=Rubric.model_validate(content)
            )
            self.rubric_id = made.rubric.id

    def pair(self, judge: str, **changes: Any) -> Trial:
        request = TrialIn.model_validate(PAIR | {"judge": judge} | changes)
        with self.world.sessions.begin() as session:
            made = trials.create(
                WriteSession(session), self.world.project, self.rubric_id, 1, request=request, settings=self._settings
            )
        return self.finished(made)

    def test(self, judge: str) -> Trial:
        request = GoldenTestIn(judge=judge)
        with self.world.sessions.begin() as session:
            made = trials.create_test(
                WriteSession(session), self.world.project, self.rubric_id, 1, request=request, settings=self._settings
            )
        return self.finished(made)

    def finished(self, trial: Trial) -> Trial:
        run = self.world.drive(trial.run.run.id)
        assert run.status is RunStatus.SUCCEEDED, run.error
        return self.read(run.id)

    def read(self, run_id: str) -> Trial:
        with self.world.sessions() as session:
            return trials.get(session, self.world.project, run_id, settings=self._settings)

    @property
    def _settings(self) -> Any:
        return self.world.settings


@pytest.fixture
def tried(world: World) -> Tried:
    return Tried(world)


def by_order(trial: Trial) -> dict[Order, TriedAnswer]:
    [pair] = trial.pairs
    return {answer.own.order: answer for answer in pair.answers}


def question(answer: TriedAnswer) -> str:
    assert answer.messages is not None
    return answer.messages[-1]["content"]


def _questions(answers: dict[Order, TriedAnswer]) -> Iterator[tuple[Order, str]]:
    return ((order, question(answer)) for order, answer in answers.items())


class TestTrial:
    def test_shows_the_question_that_was_put_in_each_order(
        self, world: World, tried: Tried, endpoint: RunningJudge
    ) -> None:
        answers = by_order(tried.pair(world.add_judge(endpoint.spec())))
        assert set(answers) == set(Order)
        rising = {order: text.index("1 of 10: I") < text.index("10 of 10: T") for order, text in _questions(answers)}
        assert set(rising.values()) == {True, False}, "the scale is shown the other way round in the other order"
        assert {call["prompt_hash"] for call in endpoint.judge.calls} == {
            answer.verdict.prompt_hash for answer in answers.values()
        }
        for order, answer in answers.items():
            text = question(answer)
            assert (text.index(POLITE) < text.index(f'"{RUDE}"')) is (order is Order.AB)
            assert "   10 of 10: Thanks warmly." in text
            assert (answer.own.answer, answer.verdict.raw_text) == (Answer.A, "A" if order is Order.AB else "B")
            assert answer.own.probability is not None
            assert answer.own.probability > 0.5
            assert answer.verdict.attempts == 1
            assert answer.verdict.prompt_tokens > 0

    @pytest.mark.parametrize("number", range(6))
    def test_is_told_in_the_pairs_own_numbering_however_the_coin_fell(
        self, world: World, tried: Tried, endpoint: RunningJudge, number: int
    ) -> None:
        trial = tried.pair(world.add_judge(endpoint.spec()), prompt=f"Is it so, {number}?", first=RUDE, second=POLITE)
        assert {answer.own.answer for answer in by_order(trial).values()} == {Answer.B}
        for order, answer in by_order(trial).items():
            text = question(answer)
            assert (text.index(f'"{RUDE}"') < text.index(POLITE)) is (order is Order.AB)

    def test_reference_tools_and_the_chosen_principle_reach_the_judge(
        self, world: World, tried: Tried, endpoint: RunningJudge
    ) -> None:
        tool = {"type": "function", "function": {"name": "look_it_up"}}
        judge = world.add_judge(endpoint.spec())
        trial = tried.pair(judge, reference="It is indeed so.", tools=[tool], principle=2)
        text = question(by_order(trial)[Order.AB])
        assert "It is indeed so." in text
        assert "look_it_up" in text
        assert "Principle to keep in mind: Prefer what does no harm." in text
        assert trial.pairs[0].principle == "Prefer what does no harm."

    def test_a_drawn_principle_is_recorded_and_put(self, world: World, tried: Tried, endpoint: RunningJudge) -> None:
        judge = world.add_judge(endpoint.spec())
        drawn = set()
        for number in range(8):
            trial = tried.pair(judge, prompt=f"Is it so, {number}?", first=f"{POLITE} {number}")
            drawn.add(principle := trial.pairs[0].principle)
            assert f"Principle to keep in mind: {principle}" in question(by_order(trial)[Order.BA])
        assert drawn == set(CONTENT["principles"])

    def test_an_invalid_answer_is_shown_and_fails_nothing(
        self, world: World, tried: Tried, endpoint: RunningJudge
    ) -> None:
        trial = tried.pair(world.add_judge(endpoint.spec()), first="Thank you. [[fault:rambling]]")
        for answer in by_order(trial).values():
            assert (answer.own.answer, answer.verdict.invalid_reason) == (Answer.INVALID, InvalidReason.PARSE)
            assert answer.messages is not None

    def test_a_program_gives_scores_and_no_prompt(self, world: World, tried: Tried) -> None:
        out = TrialOut.of(tried.pair(world.judge, first=RUDE, second=POLITE))
        for answer in out.pairs[0].answers:
            assert (answer.answer, answer.scores) == (Answer.B, {"polite": [0.0, 1.0]})
            assert answer.asked.messages is None

    def test_a_question_that_cannot_be_rendered_to_the_letter_is_not_shown(
        self, world: World, tried: Tried, endpoint: RunningJudge
    ) -> None:
        trial = tried.pair(world.add_judge(endpoint.spec()))
        run_id = trial.run.run.id
        with world.sessions.begin() as session:
            [row] = session.query(Comparison).filter_by(run_id=run_id)
            row.principle = "Another one."
        assert {answer.messages for answer in by_order(tried.read(run_id)).values()} == {None}
        assert len(world.rows(Verdict, run_id)) == 2

    def test_by_each_criterion_alone(self, world: World, tried: Tried, endpoint: RunningJudge) -> None:
        [pair] = TrialOut.of(tried.pair(world.add_judge(endpoint.spec()), mode="per_criterion")).pairs
        assert [(answer.order, answer.criterion) for answer in pair.answers] == [
            (order, name) for order in Order for name in ("brief", "polite")
        ]
        for answer in pair.answers:
            assert answer.asked.messages is not None
            shown = answer.asked.messages[-1]["content"]
            assert {name: f"{name} (weight" in shown for name in ("brief", "polite")} == {
                "brief": answer.criterion == "brief",
                "polite": answer.criterion == "polite",
            }
        assert pair.probability is not None
        assert pair.probability > 0.5

    def test_by_rating_each_response(self, world: World, tried: Tried, endpoint: RunningJudge) -> None:
        [pair] = TrialOut.of(
            tried.pair(world.add_judge(endpoint.spec()), mode="pointwise", first=RUDE, second=POLITE)
        ).pairs
        assert pair.answers == []
        points = {(rating.response.value, rating.order): rating.points or 0.0 for rating in pair.ratings}
        assert len(points) == 4
        for order in Order:
            assert points["second", order] > points["first", order]
        for rating in pair.ratings:
            assert rating.asked.messages is not None
            shown = rating.asked.messages[-1]["content"]
            assert (POLITE in shown) is (rating.response.value == "second")
            assert "10 of 10: Thanks warmly." in shown
        assert pair.probability is not None
        assert pair.probability < 0.5

    def test_an_answer_in_json_is_shown_as_it_was_asked_for(
        self, world: World, tried: Tried, endpoint: RunningJudge
    ) -> None:
        judge = world.add_judge(endpoint.spec(answer_format="json_schema", max_tokens=64))
        for answer in by_order(tried.pair(judge)).values():
            assert answer.messages is not None
            assert "JSON object" in answer.messages[0]["content"]

    def test_a_panels_members_all_answer_and_count_together(
        self, world: World, tried: Tried, endpoint: RunningJudge
    ) -> None:
        members = [world.add_judge(endpoint.spec()), world.judge]
        panel = add_composite(world, {"kind": "panel", "members": members})
        [pair] = TrialOut.of(tried.pair(panel)).pairs
        assert {(answer.judge_id, answer.order) for answer in pair.answers} == set(product(members, Order))
        stated = [answer.probability or 0.0 for answer in pair.answers]
        assert pair.probability == pytest.approx(sum(stated) / len(stated))

    @pytest.mark.parametrize("number", range(4))
    def test_a_trajectory_is_shown_turn_by_turn_and_noted_upon(
        self, world: World, tried: Tried, endpoint: RunningJudge, number: int
    ) -> None:
        """The endpoint remarks on the first turn of what it is shown first."""
        call = {"id": "1", "function": {"name": "look_up", "arguments": '{"subject": "salt"}'}}
        turns = [
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "NaCl"},
            {"role": "assistant", "content": POLITE},
        ]
        judge = world.add_judge(endpoint.spec(max_tokens=2000))
        trial = tried.pair(judge, prompt=f"Is it so, {number}?", first=turns, second=RUDE)
        for answer in by_order(trial).values():
            text = question(answer)
            assert all(piece in text for piece in ("look_up", "salt", "NaCl"))
        [pair] = TrialOut.of(trial).pairs
        for shown in pair.answers:
            assert shown.notes is not None
            assert [note.side.value for note in shown.notes] == ["first" if shown.order is Order.AB else "second"]

    def test_the_budget_pauses_it(self, world: World, tried: Tried, endpoint: RunningJudge) -> None:
        request = TrialIn.model_validate(
            PAIR | {"judge": world.add_judge(endpoint.spec(max_concurrency=1)), "budget": {"judge_usd": 1e-9}}
        )
        with world.sessions.begin() as session:
            made = trials.create(
                WriteSession(session), world.project, tried.rubric_id, 1, request=request, settings=world.settings
            )
        world.drive(made.run.run.id)
        out = TrialOut.of(tried.read(made.run.run.id))
        assert out.status is RunStatus.PAUSED
        assert len(out.pairs[0].answers) == 1
        assert out.cost_usd > 0


GOLDEN: list[dict[str, Any]] = [
    PAIR | {"name": "thanks", "expected": "A", "reason": "It thanks."},
    PAIR | {"name": "the other way round", "first": RUDE, "second": POLITE, "expected": "A"},
    PAIR | {"name": "alike", "first": "It is.", "second": "It was.", "expected": "TIE"},
    PAIR | {"name": "unreadable", "second": "No. [[fault:rambling]]", "expected": "A"},
]


class TestGoldenExamples:
    def test_each_says_whether_and_why_not(self, world: World, endpoint: RunningJudge) -> None:
        trial = Tried(world, golden_examples=GOLDEN).test(world.add_judge(endpoint.spec()))
        outcomes = {pair.golden.name: pair.outcome for pair in trial.pairs if pair.golden}
        assert {name: outcome.kind.value for name, outcome in outcomes.items() if outcome} == {
            "thanks": "passed",
            "the other way round": "wrong",
            "alike": "passed",
            "unreadable": "missing",
        }
        wrong = outcomes["the other way round"]
        assert wrong is not None
        assert wrong.why == "B in both orders, expected A"
        counts = summary(pair.outcome for pair in trial.pairs)
        assert (counts.total, counts.passed, counts.wrong, counts.missing, counts.waiting) == (4, 2, 1, 1, 0)

    def test_a_judge_that_goes_by_the_place_passes_none(self, world: World, endpoint: RunningJudge) -> None:
        endpoint.judge.first_pull = 3.0
        trial = Tried(world, golden_examples=GOLDEN[:3]).test(world.add_judge(endpoint.spec()))
        assert {pair.outcome.kind for pair in trial.pairs if pair.outcome} == {OutcomeKind.INCONSISTENT}

    def test_before_it_is_answered_all_are_waiting(self, world: World, endpoint: RunningJudge) -> None:
        tried = Tried(world, golden_examples=GOLDEN)
        request = GoldenTestIn(judge=world.add_judge(endpoint.spec()))
        with world.sessions.begin() as session:
            made = trials.create_test(
                WriteSession(session), world.project, tried.rubric_id, 1, request=request, settings=world.settings
            )
        golden = TrialOut.of(made).golden
        assert golden is not None
        assert (golden.total, golden.waiting) == (4, 4)
        assert world.get(Run, made.run.run.id).base_model_id is None


class TestWhatReachesTheJudge:
    """Of a run's prompts: their own criteria and reference, and the comparison's principle, to the letter."""

    def test_a_prompts_criteria_and_reference_and_the_principle(self, world: World, endpoint: RunningJudge) -> None:
        plain, world.rubric = world.rubric, world.add_rubric(CONTENT)
        own = [
            {"name": "brief", "description": "At most five words.", "weight": 3.0},
            {"name": "true", "description": "Says what the reference says."},
        ]
        prompt = {
            "id": "p",
            "messages": [{"role": "user", "content": "Is it so?"}],
            "cohort": "honesty",
            "split": "train",
            "candidates": [POLITE, RUDE],
            "reference": "It is indeed so.",
            "criteria": own,
        }
        recipe = {"stop_after": "judge", "sample": {"source": "prompt_set"}}
        run_id = world.add_run(recipe, world.add_prompts([prompt]), judge=world.add_judge(endpoint.spec()))
        world.rubric = plain
        assert world.drive(run_id).status is RunStatus.SUCCEEDED

        [row] = world.rows(Comparison, run_id)
        assert row.principle in CONTENT["principles"]
        texts = {completion.id: completion.text for completion in world.rows(Completion, run_id)}
        rubric = Rubric.model_validate(CONTENT | {"criteria": [CONTENT["criteria"][0], *own]})
        with world.sessions() as session:
            key = delimiter_key(session, world.settings)
        case = Case(
            prompt=(Message(role=Role.USER, content="Is it so?"),),
            rubric=rubric,
            key=key,
            reference="It is indeed so.",
        )
        first, second = (
            Response((Message(role=Role.ASSISTANT, content=texts[id_]),)) for id_ in (row.first_id, row.second_id)
        )
        asked = {
            order: PairQuestion(case, first, second, row.id, order, principle=row.principle).messages()
            for order in Order
        }
        stored = {verdict.order: verdict.prompt_hash for verdict in world.rows(Verdict, run_id)}
        assert stored == {order: prompt_hash(messages) for order, messages in asked.items()}
        for messages in asked.values():
            shown = messages[-1]["content"]
            assert "brief (weight 3): At most five words." in shown
            assert "At most twenty words." not in shown
            assert "true (weight 1): Says what the reference says." in shown
            assert "It is indeed so." in shown
            assert f"Principle to keep in mind: {row.principle}" in shown
