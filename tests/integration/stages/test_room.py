"""Prompts that leave no room for an answer: left out and counted, or the run refused before anything is paid for."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from app.db.models import Completion, CompletionSource, Evaluation, Run, RunStatus, Split, Verdict
from app.rlaif.evidence import EvaluationMetrics
from app.rlaif.recipe import StageKind
from tests.integration.stages.world import EXAMPLES, World, example_prompts
from workers.sampling.language_model import encode, load_tokenizer, render_prompt

RECIPE: dict[str, Any] = {
    "sample": {"completions": 2, "held_out_completions": 1, "max_new_tokens": 16, "prompts_per_shard": 4},
    "prefer": {"max_length": 128},
    "reward_model": {"learning_rate": 5e-4, "epochs": 1, "batch_size": 4, "max_length": 128},
    "policy": {"learning_rate": 1e-4, "epochs": 1, "batch_size": 4, "max_length": 128},
    "evaluate": {"bootstrap_samples": 100},
}
TOOLS = [{"type": "function", "function": {"name": "tide", "description": "Tells when the tide is high. " * 4}}]


def beyond(split: str, number: int = 0) -> dict[str, Any]:
    """A prompt longer than the example model's window of 1,024 tokens."""
    said = {"role": "user", "content": "Tell me of kites. " * 400}
    return {"id": f"long-{split}-{number}", "messages": [said], "cohort": "helpfulness", "split": split}


def drive(world: World, prompts: list[dict[str, Any]], **recipe: Any) -> Run:
    return world.drive(world.add_run(RECIPE | recipe, world.add_prompts(prompts)))


class TestWindow:
    def test_a_prompt_beyond_it_is_left_out_and_counted_in_a_whole_run(self, world: World) -> None:
        prompts = [*example_prompts(train=8, held_out=4), beyond("train"), beyond("train", 1), beyond("held_out")]
        run = drive(world, prompts)
        assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
        sampled, evaluated = world.stage(run.id, StageKind.SAMPLE), world.stage(run.id, StageKind.EVALUATE)
        assert (sampled.metrics["prompts_too_long"], sampled.metrics["overlong_prompts"]) == (3, 2)
        assert sampled.metrics["overlong_prompts_ids"] == ["long-train-0", "long-train-1"]
        assert evaluated.metrics["prompts_too_long"] == 1
        assert evaluated.metrics["prompts_too_long_ids"] == ["long-held_out-0"]
        completions = world.rows(Completion, run.id)
        assert max(row.prompt_tokens or 0 for row in completions) < 1024
        assert len(completions) == 8 * 2 + 4 + 4
        (evaluation,) = world.rows(Evaluation, run.id)
        assert EvaluationMetrics.model_validate(evaluation.metrics).win_rate.n_prompts == 4

    def test_a_shard_without_one_that_fits_goes_on_where_another_has_one(self, world: World) -> None:
        prompts = [*(beyond("train", number) for number in range(5)), *example_prompts(train=2, held_out=0)]
        run = drive(world, prompts, stop_after="sample")
        assert run.status is RunStatus.SUCCEEDED
        assert world.stage(run.id, StageKind.SAMPLE).metrics["prompts_too_long"] == 5
        assert len(world.rows(Completion, run.id)) == 2 * 2

    def test_a_split_of_which_none_fits_fails_the_run(self, world: World) -> None:
        prompts = [*example_prompts(train=2, held_out=0), *(beyond("held_out", number) for number in range(6))]
        run = drive(world, prompts)
        assert run.error is not None
        assert (run.error["code"], run.error["stage"]) == ("no_room", "sample")
        assert "window of 1024 tokens, less sample.max_new_tokens 16, leaves 1008" in run.error["detail"]
        assert "none of the 6 held_out prompts" in run.error["detail"]
        assert world.rows(Completion, run.id, split=Split.HELD_OUT) == []


class TestTraining:
    @pytest.mark.parametrize("field", ["prefer", "reward_model", "policy"])
    @pytest.mark.parametrize("source", ["model", "prompt_set"])
    def test_a_max_length_below_every_prompt_fails_the_run_before_judging(
        self, world: World, field: str, source: str
    ) -> None:
        prompts = [prompt | {"candidates": ["Kites fly.", "Yes."]} for prompt in example_prompts(train=4, held_out=2)]
        for prompt in prompts:
            prompt["messages"] = [{"role": "user", "content": prompt["messages"][0]["content"] + " Please." * 12}]
        sample = RECIPE["sample"] | {"source": source, "max_new_tokens": 8}
        run = drive(world, prompts, sample=sample, **{field: RECIPE[field] | {"max_length": 16}})
        assert run.error is not None
        assert (run.error["code"], run.error["stage"]) == ("no_room", "sample")
        assert f"{field}.max_length 16 leaves 15 tokens" in run.error["detail"]
        assert f"raise {field}.max_length" in run.error["detail"]
        assert world.rows(Verdict, run.id) == []

    def test_a_stage_that_does_not_run_needs_no_room(self, world: World) -> None:
        policy = RECIPE["policy"] | {"max_length": 17}
        run = drive(world, example_prompts(train=2, held_out=0), policy=policy, stop_after="sample")
        assert run.status is RunStatus.SUCCEEDED


@pytest.fixture
def tooled(world: World, tmp_path: Path) -> Iterator[Path]:
    """A base model whose template shows its tools."""
    directory = Path(shutil.copytree(EXAMPLES / "base_model", tmp_path / "tooled"))
    config = json.loads((directory / "tokenizer_config.json").read_text())
    template = "{% for tool in tools or [] %}{{ tool | tojson }}{% endfor %}" + config["chat_template"]
    (directory / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": template}))
    plain, world.model = world.model, world.add_model(tmp_path.name, directory)
    yield directory
    world.model = plain


class TestImport:
    RECIPE: ClassVar[dict[str, Any]] = {"sample": {"source": "prompt_set"}, "stop_after": "sample"}

    def test_a_prompt_is_measured_with_its_tools_in_the_template(self, world: World, tooled: Path) -> None:
        prompts = [
            prompt | {"candidates": ["Kites fly.", "Yes."], "tools": tools}
            for prompt, tools in zip(example_prompts(train=2, held_out=0), (None, TOOLS), strict=True)
        ]
        run = drive(world, prompts, **self.RECIPE)
        assert (run.status, run.error) == (RunStatus.SUCCEEDED, None)
        tokenizer = load_tokenizer(tooled)
        expected = [
            len(encode(tokenizer, render_prompt(tokenizer, prompt["messages"], tools=prompt["tools"])))
            for prompt in prompts
            for _ in prompt["candidates"]
        ]
        measured = world.rows(Completion, run.id, source=CompletionSource.IMPORTED)
        assert [row.prompt_tokens for row in measured] == expected
        assert expected[2] > expected[0] + 20

    def test_a_prompt_that_the_template_refuses_is_named(self, world: World, tooled: Path) -> None:
        config = json.loads((tooled / "tokenizer_config.json").read_text())
        template = "{{ raise_exception('roles must alternate') }}"
        (tooled / "tokenizer_config.json").write_text(json.dumps(config | {"chat_template": template}))
        world.model = world.add_model(f"{tooled.parent.name}-refusing", tooled)
        run = drive(world, example_prompts(train=1, held_out=0), stop_after="sample")
        assert run.error is not None
        assert run.error["code"] == "template_refuses_prompt"
        assert "roles must alternate" in run.error["detail"]
