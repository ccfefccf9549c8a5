"""The report: what it claims, what it doubts, and that nobody's text can pose as a part of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from app.report_page import as_html
from app.rlaif import report
from app.rlaif.caveats import caveats
from app.rlaif.evidence import EvaluationMetrics, PreferenceMetrics, RewardModelMetrics, WinRate
from app.rlaif.findings import Findings
from app.rlaif.pair_quality import assess
from app.rlaif.recipe import StageKind
from app.rlaif.report import Report
from app.rlaif.report_text import as_markdown, as_text
from app.rlaif.usage import StageUsage, total
from tests.unit.test_pair_quality import pairs

NOW = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
JUDGE: dict[str, Any] = {
    "verdicts": 400,
    "coverage": 1.0,
    "invalid": {},
    "position_consistency": 0.95,
    "first_position_preference": 0.01,
    "prefer_longer_share": 0.5,
}
PREFERENCES: dict[str, Any] = {
    "comparisons": 20,
    "kept": 18,
    "comparisons_train": 16,
    "kept_train": 14,
    "dropped": {"identical": 2},
    "ties": 1,
    "mean_margin": 0.5,
}
EQUAL_LENGTH: dict[str, Any] = {"value": 0.41, "low": 0.31, "high": 0.52}


def of(family: str) -> dict[str, Any]:
    """What a judge of one family is, that nobody has calibrated."""
    return {"family": family, "families": [family], "members": [], "calibration": None}


def calibration(*, accuracy: float, longer: float) -> dict[str, Any]:
    """What a calibration found, with 0.05 to either side."""
    figures = {"accuracy": accuracy, "prefer_longer": longer, "ece": 0.1}
    intervals = {name: {"value": v, "low": v - 0.05, "high": v + 0.05, "n": 200} for name, v in figures.items()}
    curve = [{"low": 0.5, "high": 0.6, "count": 90, "confidence": 0.55, "accuracy": 0.6}]
    return {"id": "calibration_1", "measured_at": NOW, "comparisons": 200, **intervals, "curve": curve}


def refusing(cohort: str, p_value: float = 0.001) -> dict[str, Any]:
    return {cohort: {"base_share": 0.05, "policy_share": 0.4, "n": 50, "p_value": p_value}}


def win_rate(value: float = 0.78, half: float = 0.06, **changes: Any) -> dict[str, Any]:
    counts = {"n_prompts": 96, "wins": 72, "ties": 6, "losses": 18}
    return {"value": value, "low": value - half, "high": value + half, "confidence": 0.95, **counts, **changes}


def evaluation(**changes: Any) -> dict[str, Any]:
    return {
        "win_rate": win_rate(),
        "by_cohort": {"helpfulness": win_rate(0.8), "harmlessness": win_rate(0.7)},
        "control": win_rate(0.5),
        "judge": JUDGE,
        "length": {
            "policy_mean_tokens": 20.0,
            "base_mean_tokens": 21.0,
            "difference_mean": -1.0,
            "longer_wins_share": 0.45,
        },
        "reward": {"policy_mean": 1.0, "base_mean": 0.0, "difference": 1.0, "win_rate": 0.8},
        "disagreement_with_training_judge": 0.1,
        "circular": False,
        "examples": [],
        "tokens": {"edges": [0.0, 10.0, 20.0], "base": [1, 2], "policy": [2, 1]},
        "rewards": None,
        **changes,
    }


CURVES = {
    "round": 0,
    "stage": "policy",
    "candidate": 0,
    "steps": [1, 2],
    "figures": {"loss": [0.7, 0.6], "margin": [None, 0.1]},
}


def findings(**changes: Any) -> Findings:
    """A run that went well in every respect."""
    return Findings.model_validate(
        {
            "run": {
                "id": "run_1",
                "name": "first",
                "status": "succeeded",
                "seed": 7,
                "forked_from": None,
                "measured": None,
                "baseline": None,
                "created_at": NOW,
                "finished_at": NOW,
            },
            "lineage": {
                "rubric": {"rubric_id": "r", "revision_id": "v", "name": "brief", "number": 2, "content_hash": "h"},
                "prompt_set": {"id": "p", "name": "asks", "digest": "d", "train_count": 9, "held_out_count": 9},
                "base_model": {"id": "m", "name": "base", "source": "local:base", "family": "tiny", "digest": "e"},
                "checkpoints": [],
                "reused_stages": {},
            },
            "judge": {"id": "a", "name": "trainer", "kind": "checks", **of("checks"), "metrics": JUDGE},
            "evaluation_judge": {"id": "b", "name": "measurer", "kind": "openai", **of("gpt"), "metrics": JUDGE},
            "warm_start": None,
            "prompts_too_long": {"window": 0, "max_length": 0, "named": []},
            "preferences": PREFERENCES,
            "pairs": assess(pairs(), seed=0).model_dump(),
            "reward_model": {
                "held_out_accuracy": {"value": 0.8, "low": 0.7, "high": 0.9, "confidence": 0.95, "n": 90},
                "prefer_longer_accuracy": 0.5,
                "shorter_right_accuracy": 0.8,
                "ece": 0.04,
                "length_correlation": 0.0,
                "train_pairs": 18,
                "held_out_pairs": 90,
                "truncated_pairs": 3,
                "identical_pairs": 1,
                "overlong_prompts": 2,
                "held_out_left_out": 4,
                "ensemble": None,
                "resumed_from": None,
                "rejected_states": [],
            },
            "evaluation": evaluation(),
            "frontier": [],
            "rounds": None,
            "sweeps": [],
            "curves": [CURVES],
            "alarms": [],
            "usage": [],
            "trajectories": None,
            "endpoint": "/v1/runs",
            "request": {"name": "first again", "recipe": {"seed": 7}},
            **changes,
        }
    )


def codes(**changes: Any) -> list[str]:
    return [caveat.code for caveat in caveats(findings(**changes))]


def reported(**changes: Any) -> Report:
    found = findings(**changes)
    return report.build(found, caveats(found))


ALARM = {
    "alarm": "collapse",
    "stage": "policy",
    "round": 0,
    "candidate": 0,
    "member": None,
    "step": 25,
    "limit": 0.5,
    "figures": {"shared_ngrams_at_first": 0.36, "shared_ngrams": 0.56},
    "remedy": "raise beta",
}


def judge(**figures: Any) -> dict[str, Any]:
    return {"id": "a", "name": "trainer", "kind": "checks", **of("checks"), "metrics": {**JUDGE, **figures}}


class TestCaveats:
    def test_a_good_run_raises_none(self) -> None:
        assert codes() == []

    @pytest.mark.parametrize(
        ("code", "changes"),
        [
            ("circular_evaluation", {"evaluation": evaluation(circular=True)}),
            ("few_held_out_prompts", {"evaluation": evaluation(win_rate=win_rate(n_prompts=49))}),
            ("control_off_centre", {"evaluation": evaluation(control=win_rate(0.6))}),
            ("cohort_regressed", {"evaluation": evaluation(by_cohort={"honesty": win_rate(0.4)})}),
            (
                "over_optimised",
                {
                    "evaluation": evaluation(
                        reward={"policy_mean": 9.0, "base_mean": 0.0, "difference": 9.0, "win_rate": 0.99}
                    )
                },
            ),
            ("collapse", {"alarms": [ALARM]}),
            ("judges_disagree", {"evaluation": evaluation(disagreement_with_training_judge=0.31)}),
            (
                "answers_grew_longer",
                {
                    "evaluation": evaluation(
                        length={
                            "policy_mean_tokens": 40.0,
                            "base_mean_tokens": 20.0,
                            "difference_mean": 20.0,
                            "longer_wins_share": 0.8,
                        }
                    )
                },
            ),
            ("reward_model_misleads", {"evaluation": evaluation(chosen_by_reward=win_rate(0.4))}),
            ("over_refusal", {"evaluation": evaluation(refusals=refusing("helpfulness"))}),
            ("length_decides", {"evaluation": evaluation(win_rate=win_rate(length_controlled=EQUAL_LENGTH))}),
            ("same_family", {"judge": {**judge(), **of("gpt")}}),
            ("same_family", {"judge": {**judge(), **of("gpt"), "families": ["checks", "gpt"]}}),
            ("judges_own_family", {"judge": {**judge(), **of("tiny")}}),
            ("uncalibrated_panel", {"judge": {**judge(), "kind": "panel", "members": ["one", "two"]}}),
            ("judge_is_length", {"judge": {**judge(), "calibration": calibration(accuracy=0.7, longer=0.66)}}),
            ("low_coverage", {"judge": judge(coverage=0.94, invalid={"parse": 24})}),
            ("inconsistent_judge", {"judge": judge(position_consistency=0.69)}),
            ("position_bias", {"judge": judge(first_position_preference=-0.21)}),
            ("length_bias", {"judge": judge(prefer_longer_share=0.71)}),
            ("few_preferences_kept", {"preferences": PREFERENCES | {"kept_train": 7}}),
        ],
    )
    def test_each_doubt_is_raised_alone(self, code: str, changes: dict[str, Any]) -> None:
        assert codes(**changes) == [code]

    def test_an_alarm_of_a_sweep_names_the_candidate(self) -> None:
        (caveat,) = reported(alarms=[ALARM | {"candidate": 1}]).caveats
        assert caveat.detail.startswith("Training (policy, round 0, candidate 1): collapse at step 25")

    @pytest.mark.parametrize("found", [refusing("harmlessness"), refusing("helpfulness", p_value=0.2)])
    def test_refusals_that_were_asked_for_or_are_chance_raise_none(self, found: dict[str, Any]) -> None:
        made = reported(evaluation=evaluation(refusals=found))
        assert made.caveats == []
        assert "refusals by cohort" in as_text(made)

    def test_tasks_and_evaluators_are_shown(self) -> None:
        difference = {"value": -0.05, "low": -0.1, "high": 0.0, "n": 40}
        figure = {"figure": "acc", "higher_is_better": True, "base": 0.9, "policy": 0.85, "difference": difference}
        task = {
            "task_id": "task_1",
            "digest": "d",
            "documents": 40,
            "base_digest": "b",
            "policy_digest": "p",
            "figures": [{**figure, "gained": 1, "lost": 3, "p_value": 0.625}],
        }
        points = {
            "base": 7.25,
            "policy": 7.2,
            "difference": difference,
            "base_below": 0.1,
            "policy_below": 0.2,
            "n": 40,
        }
        evaluator = {
            "version": 1,
            "rubric_hash": "abcdef",
            "judge_id": "judge_9",
            "threshold": 5.5,
            "coverage": 1.0,
            "overall": points,
            "by_cohort": {"honesty": points},
            "left_out": 2,
        }
        made = reported(evaluation=evaluation(tasks={"facts": task}, evaluators={"toxicity": evaluator}))
        for shown in (as_markdown(made), as_text(made)):
            for part in ("facts", "0.900", "-0.100 to +0.000", "0.62", "toxicity", "7.25", "honesty"):
                assert part in shown, part

    def test_a_reward_model_is_held_against_chance_and_length(self) -> None:
        model = findings().reward_model
        assert model is not None
        weak = {"value": 0.55, "low": 0.45, "high": 0.65, "confidence": 0.95, "n": 90}
        assert codes(reward_model={**model.model_dump(), "held_out_accuracy": weak}) == ["reward_model_is_chance"]
        assert codes(reward_model={**model.model_dump(), "prefer_longer_accuracy": 0.15}) == ["reward_model_is_length"]

    def test_a_circular_evaluation_is_not_also_called_a_relative(self) -> None:
        same = {**judge(), **of("gpt")}
        assert codes(judge=same, evaluation=evaluation(circular=True)) == ["circular_evaluation"]


class TestPeople:
    def test_a_calibrated_judge_s_agreement_is_beside_it(self) -> None:
        made = reported(judge={**judge(), "calibration": calibration(accuracy=0.81, longer=0.55)})
        for shown in (as_markdown(made), as_text(made)):
            assert "0.760 to 0.860" in shown
            assert "Against people" in shown
        assert "judge_is_length" not in {caveat.code for caveat in made.caveats}

    def test_a_judge_that_nobody_compared_with_people_has_no_such_line(self) -> None:
        assert "Against people" not in as_text(reported())


class TestBestOfN:
    def test_is_a_table_and_a_plot(self) -> None:
        curve = [{"n": 1, "reward": 0.5, "kl": 0.0}, {"n": 2, "reward": 1.25, "kl": 0.193}]
        made = reported(evaluation=evaluation(best_of_n=curve, chosen_by_reward=win_rate(0.66)))
        for shown in (as_markdown(made), as_text(made), as_html(made)):
            assert "+1.250" in shown
            assert "0.193" in shown
            assert "0.660" in shown
        assert made.model_dump()["best_of_n"] == curve


class TestPromotion:
    def test_a_policy_that_is_held_back_says_why(self) -> None:
        why = {"gate": "minimum_win_rate", "held": False, "detail": "at least 0.800 was asked"}
        made = reported(evaluation=evaluation(promotion={"promoted": False, "reasons": [why]}))
        for shown in (as_markdown(made), as_text(made), as_html(made)):
            assert "held back" in shown
            assert "at least 0.800 was asked" in shown

    def test_where_nothing_was_asked_nothing_is_said(self) -> None:
        made = reported(evaluation=evaluation(promotion={"promoted": True, "reasons": []}))
        assert "promoted" not in as_text(made)


class TestEqualLength:
    def test_is_beside_the_win_rate_in_every_form(self) -> None:
        made = reported(evaluation=evaluation(by_cohort={"helpfulness": win_rate(0.8, length_controlled=EQUAL_LENGTH)}))
        for shown in (as_markdown(made), as_text(made), as_html(made)):
            assert "at equal length" in shown
            assert "0.310 to 0.520" in shown
        assert made.model_dump()["by_cohort"]["helpfulness"]["length_controlled"] == EQUAL_LENGTH

    def test_is_in_the_first_sentence(self) -> None:
        made = reported(evaluation=evaluation(win_rate=win_rate(length_controlled=EQUAL_LENGTH)))
        assert made.headline.sentence.endswith("At equal length it is 0.410 (0.310 to 0.520).")
        assert "equal length" not in reported().headline.sentence

    def test_an_evaluation_that_was_stored_without_it_still_loads(self) -> None:
        stored = evaluation()
        assert "length_controlled" not in stored["win_rate"]
        assert EvaluationMetrics.model_validate(stored).win_rate.length_controlled is None


class TestHeadline:
    def test_an_interval_above_half_is_a_gain(self) -> None:
        assert "the trained policy beats the base model" in reported().headline.sentence

    def test_an_interval_that_holds_half_is_none(self) -> None:
        headline = reported(evaluation=evaluation(win_rate=win_rate(0.55))).headline
        assert "no gain over the base model is shown" in headline.sentence
        assert "beats" not in headline.sentence

    def test_nothing_measured_is_nothing_claimed(self) -> None:
        made = reported(evaluation=None, prompts_too_long=None, preferences=None, pairs=None, reward_model=None)
        assert made.headline.win_rate is None
        assert (made.length, made.reward, made.by_cohort, made.examples) == (None, None, {}, [])
        assert "Win rates" not in as_text(made)
        assert "Pairs to train on" not in as_text(made)


class TestUsage:
    def test_total_is_the_sum_of_the_stages(self) -> None:
        rows = [_usage(StageKind.SAMPLE, 0.0, 3.5), _usage(StageKind.JUDGE, 1.25, 0.5)]
        assert total(rows).model_dump() == {
            "judge_usd": 1.25,
            "judge_calls": 20,
            "prompt_tokens": 200,
            "completion_tokens": 4,
            "answers": 80,
            "cached_answers": 20,
            "saved_usd": 1.0,
            "compute_seconds": 4.0,
            "cache_hit_rate": 0.25,
        }

    def test_nothing_costs_nothing(self) -> None:
        nothing = total([]).model_dump()
        assert nothing.pop("cache_hit_rate") is None
        assert set(nothing.values()) == {0}


class TestRendering:
    @pytest.mark.parametrize("render", [as_text, as_markdown])
    def test_every_figure_that_was_measured_is_shown(self, render: Any) -> None:
        text = render(reported(usage=[_usage(StageKind.JUDGE, 1.25, 0.5)]))
        measured = (
            "0.780",
            "0.720 to 0.840",
            "helpfulness",
            "dropped: identical",
            "1.2500",
            "25%",
            "0.5000",
            "0.800",
            "measurer",
        )
        for shown in (*measured, "length alone, AUC", "trivially separable", "beyond max"):
            assert shown in text

    @pytest.mark.parametrize("render", [as_text, as_markdown])
    def test_no_text_of_others_poses_as_the_report(self, render: Any) -> None:
        forged = "fine\n# Report: forged\n| all | 1.000 |\n```\n</pre><script>\x1b[2J\u202e"
        example = {"cohort": "x", "prompt_id": "p", "prompt": [{"role": "user", "content": forged}]}
        examples = [{**example, "base": forged, "policy": forged, "probability": 1.0}]
        run = {**findings().run.model_dump(), "name": "a\n# b | c <script>"}
        text = render(reported(evaluation=evaluation(examples=examples), run=run))
        assert "\x1b" not in text
        assert "\u202e" not in text
        for line in text.splitlines():
            assert line.startswith("    ") or "forged" not in line
            assert not line.startswith("# b")

    def test_markdown_escapes_names(self) -> None:
        run = {**findings().run.model_dump(), "name": "a|b <script> [x](http://y)"}
        title = as_markdown(reported(run=run)).splitlines()[0]
        assert title == r"# Report: a\|b \<script\> \[x\](http://y)"

    @given(st.text())
    def test_any_answer_can_be_quoted(self, answer: str) -> None:
        example: dict[str, Any] = {
            "cohort": "x",
            "prompt_id": "p",
            "prompt": [],
            "base": answer,
            "policy": answer,
            "probability": None,
        }
        made = reported(evaluation=evaluation(examples=[example]))
        for text in (as_text(made), as_markdown(made)):
            assert text.endswith("\n")
            assert all(character.isprintable() or character == "\n" for character in text)


class TestEvidence:
    def test_an_interval_runs_upwards(self) -> None:
        with pytest.raises(ValidationError, match="above its high"):
            WinRate.model_validate({**win_rate(), "low": 0.9, "high": 0.8})

    def test_what_was_dropped_and_kept_adds_up(self) -> None:
        with pytest.raises(ValidationError, match="are not 3 kept"):
            PreferenceMetrics.model_validate(PREFERENCES | {"kept": 3})

    @pytest.mark.parametrize("counts", [{"kept_train": 19}, {"comparisons_train": 21}, {"comparisons_train": 10}])
    def test_what_is_trained_on_is_part_of_what_was_kept(self, counts: dict[str, int]) -> None:
        with pytest.raises(ValidationError, match="cannot be among"):
            PreferenceMetrics.model_validate(PREFERENCES | counts)

    @pytest.mark.parametrize("schema", [EvaluationMetrics, RewardModelMetrics, PreferenceMetrics])
    def test_nothing_has_a_default(self, schema: Any) -> None:
        assert all(field.is_required() for field in schema.model_fields.values())

    def test_survives_json(self) -> None:
        measured = EvaluationMetrics.model_validate(evaluation())
        assert EvaluationMetrics.model_validate_json(measured.model_dump_json()) == measured


def _usage(stage: StageKind, usd: float, seconds: float) -> StageUsage:
    return StageUsage(
        round=0,
        stage=stage,
        judge_usd=usd,
        judge_calls=10,
        prompt_tokens=100,
        completion_tokens=2,
        answers=40,
        cached_answers=10,
        saved_usd=0.5,
        compute_seconds=seconds,
        wall_seconds=None,
    )


def test_what_the_reward_model_was_trained_on_is_told() -> None:
    written = as_text(reported())
    assert "18 (3 cut; 1 identical and 2 overlong left out)" in written
    assert "90 (4 left out)" in written


def test_what_length_explains_of_the_reward_and_where_its_members_part_is_told() -> None:
    model = findings().reward_model
    assert model is not None
    parts = {"members": 3, "member_accuracies": [0.71, 0.7, 0.74], "disagreement": 0.12, "margin_deviation": 0.345}
    made = reported(reward_model={**model.model_dump(), "length_correlation": -0.25, "ensemble": parts})
    assert json.loads(made.model_dump_json())["reward_model"]["ensemble"] == parts
    written = as_text(made)
    for shown in ("-0.250", "0.710, 0.700, 0.740 (3 members)", "0.120", "0.345"):
        assert shown in written
    assert "members" not in as_text(reported())
