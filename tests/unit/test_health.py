"""Alarms of a training: each rule, the windows that they look through, and what a resumed training remembers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.rlaif.health import (
    REMEDIES,
    Alarm,
    AlarmKind,
    HealthConfig,
    OnlineHealth,
    PreferenceHealth,
    RewardHealth,
)
from app.rlaif.recipe import Recipe
from app.rlaif.watch import RULES, Watch

WINDOW = 4
Figures = Mapping[str, float]


def raised(config: HealthConfig, steps: Sequence[Figures]) -> list[Alarm]:
    told: list[Alarm] = []
    watch = Watch(config, told.append)
    for step, figures in enumerate(steps, start=1):
        watch.see(step, figures)
    return told


def online(**changes: object) -> OnlineHealth:
    return OnlineHealth.model_validate({"window": WINDOW} | changes)


def steps(name: str, start: float, now: float, **others: float) -> list[dict[str, float]]:
    """A figure that begins at one value and is at another for as long again."""
    return [{name: value} | others for value in [start] * WINDOW + [now] * WINDOW]


def look(change: float, error: float) -> dict[str, float]:
    return {"held_out_judge": 0.5 + change, "held_out_judge_change": change, "held_out_judge_error": error}


class TestRules:
    """Each at its threshold from both sides: a rule that always or never speaks fails one of them."""

    @pytest.mark.parametrize(
        ("kind", "config", "sound", "unsound"),
        [
            (
                AlarmKind.MARGIN_EXPLODING,
                RewardHealth(window=WINDOW),
                steps("margin", 1.0, 9.9),
                steps("margin", 1.0, 10.1),
            ),
            (
                AlarmKind.CHOSEN_LOGPROB_FALLING,
                PreferenceHealth(window=WINDOW),
                steps("chosen_logp", -20.0, -21.0, chosen_tokens=10.0),
                steps("chosen_logp", -20.0, -23.0, chosen_tokens=10.0),
            ),
            (
                AlarmKind.LENGTH_DRIFT,
                online(),
                steps("completion_tokens", 50.0, 99.0),
                steps("completion_tokens", 50.0, 101.0),
            ),
            (
                AlarmKind.LENGTH_DRIFT,
                online(),
                steps("completion_tokens", 50.0, 26.0),
                steps("completion_tokens", 50.0, 24.0),
            ),
            (
                AlarmKind.KL_EXPLODING,
                online(),
                steps("kl", 0.0, 9.0, completion_tokens=10.0),
                steps("kl", 0.0, 11.0, completion_tokens=10.0),
            ),
            (AlarmKind.COLLAPSE, online(), steps("shared_ngrams", 0.1, 0.49), steps("shared_ngrams", 0.1, 0.51)),
            (AlarmKind.COLLAPSE, online(), steps("shared_ngrams", 0.45, 0.6), steps("shared_ngrams", 0.35, 0.6)),
            (
                AlarmKind.REWARD_HACKING,
                online(),
                steps("reward", 0.0, 1.0, reward_std=1.0, **look(-0.19, 0.1)),
                steps("reward", 0.0, 1.0, reward_std=1.0, **look(-0.21, 0.1)),
            ),
            (
                AlarmKind.REWARD_HACKING,
                online(),
                steps("reward", 0.0, 0.2, reward_std=1.0, **look(-0.5, 0.1)),
                steps("reward", 0.0, 0.3, reward_std=1.0, **look(-0.5, 0.1)),
            ),
        ],
    )
    def test_speaks_beyond_its_threshold_alone(
        self, kind: AlarmKind, config: HealthConfig, sound: list[Figures], unsound: list[Figures]
    ) -> None:
        assert raised(config, sound) == []
        assert [alarm.kind for alarm in raised(config, unsound)] == [kind]

    def test_every_alarm_but_not_finite_has_a_rule_and_all_a_remedy(self) -> None:
        assert RULES.keys() == set(AlarmKind) - {AlarmKind.NOT_FINITE}
        assert REMEDIES.keys() == set(AlarmKind)

    def test_a_threshold_of_null_turns_its_alarm_off(self) -> None:
        assert raised(online(shared_ngrams=None), steps("shared_ngrams", 0.1, 1.0)) == []


class TestWindows:
    def test_nothing_is_said_before_there_are_two(self) -> None:
        assert raised(online(), steps("shared_ngrams", 0.1, 1.0)[:-1]) == []

    def test_one_wild_step_is_no_alarm(self) -> None:
        course = steps("kl", 0.0, 1.0, completion_tokens=10.0)
        course[-2] = {"kl": 1e6, "completion_tokens": 10.0}
        assert raised(online(), course) == []

    def test_a_missing_figure_is_not_zero(self) -> None:
        course = [{"completion_tokens": 50.0}, {}, {"completion_tokens": float("nan")}] * 2 * WINDOW
        assert raised(online(), course) == []

    def test_an_alarm_is_raised_once(self) -> None:
        course = steps("shared_ngrams", 0.1, 0.9) + [{"shared_ngrams": 0.9}] * 20
        assert [alarm.step for alarm in raised(online(), course)] == [2 * WINDOW]


class TestResuming:
    @given(
        st.lists(st.floats(0, 1), min_size=12, max_size=40),
        st.lists(st.floats(1, 100), min_size=40, max_size=40),
        st.integers(1, 39),
    )
    def test_from_any_step_gives_the_same_alarms(self, shared: list[float], lengths: list[float], cut: int) -> None:
        course = [{"shared_ngrams": a, "completion_tokens": b} for a, b in zip(shared, lengths, strict=False)]
        told: list[Alarm] = []
        first = Watch(online(), told.append)
        for step, figures in enumerate(course[:cut], start=1):
            first.see(step, figures)
        second = Watch(online(), told.append)
        second.restore(json.loads(json.dumps(first.state)))
        for step, figures in enumerate(course[cut:], start=cut + 1):
            second.see(step, figures)
        assert {str(alarm) for alarm in told} == {str(alarm) for alarm in raised(online(), course)}

    def test_what_is_remembered_does_not_grow(self) -> None:
        watch = Watch(online(), lambda _: None)
        for step in range(1, 500):
            watch.see(step, {"reward": float(step)})
        assert len(json.dumps(watch.state)) < 200


class TestConfig:
    def test_single_alarms_may_stop(self) -> None:
        config = online(on={"collapse": "stop"})
        assert (config.stops(AlarmKind.COLLAPSE), config.stops(AlarmKind.LENGTH_DRIFT)) == (True, False)
        course = steps("shared_ngrams", 0.1, 0.9)
        watch = Watch(config, lambda _: None)
        ends = [watch.see(step, figures) for step, figures in enumerate(course, start=1)]
        assert ends[:-1] == [None] * (len(course) - 1)
        assert ends[-1] is not None
        assert ends[-1].kind is AlarmKind.COLLAPSE

    def test_or_all_but_some(self) -> None:
        config = online(on_alarm="stop", on={"length_drift": "warn"})
        assert (config.stops(AlarmKind.COLLAPSE), config.stops(AlarmKind.LENGTH_DRIFT)) == (True, False)

    @pytest.mark.parametrize("alarm", ["not_finite", "collapse"])
    def test_an_alarm_that_a_training_has_not_is_an_error(self, alarm: str) -> None:
        with pytest.raises(ValidationError, match=f"no {alarm}"):
            RewardHealth.model_validate({"on": {alarm: "warn"}})

    def test_is_no_part_of_what_a_run_results_in(self) -> None:
        watched = {"policy": {"health": {"on_alarm": "stop", "window": 3}}, "reward_model": {"health": {"window": 3}}}
        assert Recipe.model_validate(watched).content_hash() == Recipe().content_hash()

    def test_survives_being_stored(self) -> None:
        recipe = Recipe.model_validate({"policy": {"method": "grpo", "health": {"on": {"collapse": "stop"}}}})
        assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe

    def test_a_program_looks_by_itself_and_a_model_when_asked(self) -> None:
        assert online().looks_every(judge_is_program=True) == 10
        assert online().looks_every(judge_is_program=False) is None
        assert online(judge_every=0).looks_every(judge_is_program=True) is None
        assert online(judge_every=5).looks_every(judge_is_program=False) == 5


def test_an_alarm_says_what_it_saw_and_what_to_do() -> None:
    (alarm,) = raised(online(), steps("shared_ngrams", 0.1, 0.9))
    found = "shared_ngrams_at_first 0.1, shared_ngrams 0.9 (limit 0.5)"
    assert str(alarm) == f"collapse at step 8: {found}; {alarm.remedy}"
