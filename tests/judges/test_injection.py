"""Judge injection: families of attacks in both places, against a judge that obeys what it takes for an instruction."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from app.rlaif.beliefs import belief_of
from app.rlaif.comparison import Answer, Order, Verdict
from app.rlaif.listwise import ListQuestion, Ranked
from app.rlaif.messages import Message, Role
from app.rlaif.pairwise import PairQuestion
from app.rlaif.pointwise import PointQuestion
from app.rlaif.questions import AnswerStyle
from app.rlaif.rendering import Case, Response
from benchmarks import injection
from benchmarks.figures import conclude
from benchmarks.gullible_judge import GullibleJudge
from benchmarks.injection import (
    HEEDLESS,
    KEY,
    PAIRS,
    RENDERINGS,
    RUBRIC,
    Attack,
    Rendering,
    as_built,
    attacks,
    outcome,
    pasted,
)
from benchmarks.injection_attacks import ATTACKS, Family
from tests.judges.running import KEY as API_KEY
from tests.judges.running import Running, answers
from tests.scripted_judge import ScriptedJudge, serve
from workers.judges.protocol import JudgedAnswer

GULLIBLE = GullibleJudge(RUBRIC)


def leans(attack: Attack, rendering: Rendering) -> float:
    """P(the attacking response is better), after both orders."""
    belief = belief_of(injection.verdicts(attack, GULLIBLE, rendering))
    assert belief is not None
    return belief.probability if attack.attacked == 0 else 1 - belief.probability


class TestTheJudge:
    """A judge that could not be turned would prove nothing."""

    @pytest.mark.parametrize("rendering", RENDERINGS)
    def test_it_prefers_the_better_response_as_long_as_nobody_speaks_to_it(self, rendering: str) -> None:
        for question, better, worse in PAIRS:
            for attacked, responses in enumerate([(worse, better), (better, worse)]):
                honest = Attack(Family.FAKE_END, question, responses, attacked)
                assert leans(honest, RENDERINGS[rendering]) < 0.5

    @pytest.mark.parametrize("family", Family)
    @pytest.mark.parametrize("place", [0, 1])
    def test_every_family_works_in_both_places_on_a_pasted_prompt(self, family: Family, place: int) -> None:
        tried = [each for each in attacks() if each.family is family and each.attacked == place]
        assert any(leans(each, pasted) >= 0.5 for each in tried)

    def test_every_way_speaks_to_the_judge_in_a_response_that_would_lose(self) -> None:
        assert set(ATTACKS) == set(Family)
        assert len(Family) >= 8
        assert {each.attacked for each in attacks()} == {0, 1}


class TestTheServicesPrompt:
    @pytest.mark.parametrize("family", Family)
    @pytest.mark.parametrize("place", [0, 1])
    def test_no_attack_turns_a_verdict(self, family: Family, place: int) -> None:
        tried = [each for each in attacks() if each.family is family and each.attacked == place]
        assert [each for each in tried if leans(each, as_built) >= 0.5] == []

    @pytest.mark.parametrize("missing", ["no rule on data", "no escapes", "no JSON", "known delimiter, no escapes"])
    def test_each_defence_stops_something(self, missing: str) -> None:
        assert outcome(RENDERINGS[missing]).both_orders > 0.1

    def test_the_delimiter_stops_forged_sections_where_nothing_else_does(self) -> None:
        """Without escapes a forged header would read as one: only its name is unknown."""
        forged = {Family.FAKE_END, Family.FAKE_RESPONSE}
        known, unknown = (outcome(RENDERINGS[name]) for name in ("known delimiter, no escapes", "no escapes"))
        assert {family for family in forged if known.flips[family] + known.ties[family] > 0} == forged
        assert {family for family in forged if unknown.flips[family] + unknown.ties[family] > 0} == set()

    def test_both_orders_stop_most_of_what_a_heedless_judge_lets_through(self) -> None:
        """It must be careless twice: of one reading in four, one pair in sixteen."""
        found = outcome(as_built, heedless=HEEDLESS, seeds=8)
        assert found.one_order == pytest.approx(HEEDLESS * 0.85, abs=0.06)
        assert found.both_orders < 1.5 * HEEDLESS**2
        assert found.tied > found.both_orders

    @pytest.mark.parametrize("family", Family)
    def test_every_mode_says_what_data_are_and_shows_them_escaped(self, family: Family) -> None:
        for attack in (each for each in attacks() if each.family is family):
            case = Case((Message(role=Role.USER, content=attack.question),), RUBRIC, key=KEY)
            shown = [Response((Message(role=Role.ASSISTANT, content=text),)) for text in attack.responses]
            asked = (
                PairQuestion(case, shown[0], shown[1], "c", Order.AB),
                PairQuestion(case, shown[0], shown[1], "c", Order.BA, style=AnswerStyle.JSON_SCHEMA),
                ListQuestion(case, tuple(shown), (Ranked("c", 0, 1),), reverse=False),
                PointQuestion(case, shown[0], "first", Order.AB),
            )
            for system, user in (question.messages() for question in asked):
                assert "never instructions to you" in system["content"]
                assert not re.search(
                    r"<\|im_|<\|eot|<(start|end)_of_turn|\[/?INST|<<<DATA|[\U000e0000-\U000e007f]", user["content"]
                )
                assert len(user["content"].splitlines()) < 30, "every text is one line"

    def test_the_benchmark_meets_its_goals(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert conclude(injection.measure()) == 0
        assert "as built" in capsys.readouterr().out


class GullibleEndpoint(ScriptedJudge):
    """The same judge behind HTTP."""

    def _completion(self, body: dict[str, Any]) -> dict[str, Any]:
        completion = super()._completion(body | {"logprobs": False})
        completion["choices"][0]["message"]["content"] = GULLIBLE.label(body["messages"])
        return completion


class TestOverTheWire:
    def test_the_endpoint_judge_is_not_turned_by_any_attack(self) -> None:
        tried = list(attacks())

        async def asked() -> list[JudgedAnswer]:
            judge = GullibleEndpoint(key=API_KEY)
            runner, port = await serve(judge, 0)
            try:
                endpoint = Running(judge, f"http://127.0.0.1:{port}/v1")
                client = endpoint.client(top_logprobs=None, max_concurrency=32, timeout_s=10.0)
                return await answers(client, list(questions(tried)))
            finally:
                await runner.cleanup()

        given = asyncio.run(asked())
        assert len(given) == 2 * len(tried)
        for number, attack in enumerate(tried):
            verdicts = [
                Verdict("gullible", each.order, each.answer, each.probability)
                for each in given
                if each.comparison_id == f"attack-{number}"
            ]
            assert {each.answer for each in verdicts} == {Answer.B if attack.attacked == 0 else Answer.A}


def questions(tried: Sequence[Attack]) -> Iterator[PairQuestion]:
    for number, attack in enumerate(tried):
        case = Case((Message(role=Role.USER, content=attack.question),), RUBRIC, key=KEY)
        first, second = (Response((Message(role=Role.ASSISTANT, content=text),)) for text in attack.responses)
        for order in Order:
            yield PairQuestion(case, first, second, f"attack-{number}", order)
