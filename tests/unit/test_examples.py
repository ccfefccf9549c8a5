"""The examples are what their scripts and their README say."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from app.rlaif.checks import score_completion, user_text
from app.rlaif.judges import ChecksJudge, JudgeSpec
from app.rlaif.prompt import Prompt
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.rubric import Rubric
from app.rlaif.sweep import candidates
from app.services.round_rules import require_repeatable

EXAMPLES = Path(__file__).parents[2] / "examples"


def prompts() -> list[Prompt]:
    return [Prompt.model_validate_json(line) for line in (EXAMPLES / "prompts.jsonl").read_text().splitlines()]


def judge(name: str) -> ChecksJudge:
    spec = TypeAdapter(JudgeSpec).validate_python(json.loads((EXAMPLES / f"{name}.json").read_text())["spec"])
    assert isinstance(spec, ChecksJudge)
    return spec


class TestLabels:
    def test_script_writes_the_committed_file(self, tmp_path: Path) -> None:
        out = tmp_path / "labels.jsonl"
        subprocess.run([sys.executable, EXAMPLES / "build_labels.py", "--out", out], check=True, capture_output=True)
        assert out.read_bytes() == (EXAMPLES / "labels.jsonl").read_bytes()

    def test_three_readers_answer_each_pair(self) -> None:
        rows = [Prompt.model_validate_json(line) for line in (EXAMPLES / "labels.jsonl").read_text().splitlines()]
        assert len(rows) == 120
        assert {len(row.candidates) for row in rows} == {2}
        assert {len({given.annotator for given in row.annotations}) for row in rows} == {3}


class TestPrompts:
    def test_script_writes_the_committed_file(self, tmp_path: Path) -> None:
        out = tmp_path / "prompts.jsonl"
        subprocess.run([sys.executable, EXAMPLES / "build_prompts.py", "--out", out], check=True, capture_output=True)
        assert out.read_bytes() == (EXAMPLES / "prompts.jsonl").read_bytes()

    def test_splits_share_no_prompt_and_have_the_same_cohorts(self) -> None:
        by_split = {split: [prompt for prompt in prompts() if prompt.split == split] for split in ("train", "held_out")}
        texts = {split: {user_text(prompt.messages) for prompt in kept} for split, kept in by_split.items()}
        assert len(by_split["train"]) + len(by_split["held_out"]) >= 300
        assert not texts["train"] & texts["held_out"]
        cohorts = {split: {prompt.cohort for prompt in kept} for split, kept in by_split.items()}
        assert cohorts["train"] == cohorts["held_out"]
        assert len(cohorts["train"]) >= 3


class TestJudges:
    def test_evaluation_judge_shares_no_criterion_with_the_rubric(self) -> None:
        rubric = {criterion["name"] for criterion in json.loads((EXAMPLES / "rubric.json").read_text())["criteria"]}
        assert not judge("judge").criteria
        assert not rubric & {criterion.name for criterion in judge("evaluation_judge").criteria}

    def test_reference_answers_score_high_with_the_evaluation_judge(self) -> None:
        rubric = Rubric(criteria=judge("evaluation_judge").criteria)
        for prompt in prompts():
            assert prompt.reference
            score = score_completion(
                rubric, prompt.reference, prompt=user_text(prompt.messages), reference=prompt.reference
            )
            assert score.total > 0.9, prompt.id


def test_recipe_runs_every_stage() -> None:
    recipe = Recipe.model_validate_json((EXAMPLES / "recipe.json").read_text())
    elsewhere = {StageKind.CALIBRATE, StageKind.SCORE, StageKind.TRAJECTORIES}
    assert set(StageKind) - set(recipe.stages()) == {StageKind.WARM_START, *elsewhere}


@pytest.mark.parametrize("path", sorted((EXAMPLES / "warm_starts").glob("*.json")), ids=lambda path: path.stem)
def test_warm_starts_stand_in_the_recipe(path: Path) -> None:
    given = json.loads((EXAMPLES / "recipe.json").read_text()) | {"warm_start": json.loads(path.read_text())}
    recipe = Recipe.model_validate(given)
    assert recipe.stages()[0] is StageKind.WARM_START
    assert recipe.warm_start is not None
    assert recipe.warm_start.method == path.stem


def test_rounds_stand_in_the_recipe() -> None:
    rounds = json.loads((EXAMPLES / "rounds.json").read_text())
    recipe = Recipe.model_validate(json.loads((EXAMPLES / "recipe.json").read_text()) | {"rounds": rounds})
    require_repeatable(recipe)
    assert recipe.rounds is not None
    assert recipe.rounds.maximum_kl is not None


def test_the_sweep_stands_in_the_recipe() -> None:
    given = json.loads((EXAMPLES / "recipe.json").read_text())
    recipe = Recipe.model_validate(given | {"sweep": json.loads((EXAMPLES / "sweep.json").read_text())})
    assert len(candidates(recipe)) == 4
    cohorts = {prompt.cohort for prompt in prompts()}
    assert recipe.sweep is not None
    assert cohorts.issuperset(recipe.sweep.capability_cohorts or ())


def test_the_constitution_is_the_rubric_with_principles() -> None:
    rubric, constitution = (
        Rubric.model_validate({name: part for name, part in json.loads(path.read_text()).items() if name != "name"})
        for path in (EXAMPLES / "rubric.json", EXAMPLES / "constitution.json")
    )
    assert constitution.criteria == rubric.criteria
    assert len(constitution.principles) == 5
