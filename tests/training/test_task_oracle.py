"""The lm-evaluation-harness itself as the oracle: the same task, model and documents give the same figures.

It is no dependency: `uv pip install lm_eval` into an environment of your own, and this test runs; else it is skipped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app.rlaif.task import TaskConfig
from app.rlaif.task_template import few_shot, question
from workers.sampling.language_model import LanguageModel
from workers.sampling.task_answers import answered

pytest.importorskip("lm_eval", reason="the oracle is no dependency: uv pip install lm_eval")
pytestmark = pytest.mark.filterwarnings("ignore")  # of the oracle's own imports

EXAMPLES = Path(__file__).parents[2] / "examples"


def theirs(config: dict[str, Any], documents: list[dict[str, Any]], *, chat: bool) -> dict[str, list[float]]:
    """Each document's score by figure, as lm_eval gives it."""
    from lm_eval import evaluator
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.models.huggingface import HFLM

    class Task(ConfigurableTask):  # type: ignore[misc]
        def download(self, *args: Any, **kwargs: Any) -> None:
            import datasets

            self.dataset = {"test": datasets.Dataset.from_list(documents)}

    task = Task(config={**config, "test_split": "test"})
    model = HFLM(pretrained=str(EXAMPLES / "base_model"), device="cpu", batch_size=8, dtype="float32")
    found = evaluator.evaluate(
        lm=model,
        task_dict={config["task"]: task},
        log_samples=True,
        bootstrap_iters=0,
        apply_chat_template=chat,
    )
    scores: dict[str, list[float]] = {}
    for sample in sorted(found["samples"][config["task"]], key=lambda row: (row["filter"], row["doc_id"])):
        suffix = "" if sample["filter"] == "none" else f",{sample['filter']}"
        for metric in sample["metrics"]:
            scores.setdefault(f"{metric}{suffix}", []).append(float(sample[metric]))
    return scores


def ours(config: TaskConfig, documents: list[dict[str, Any]]) -> dict[str, list[float]]:
    language_model = LanguageModel.load(EXAMPLES / "base_model", device="cpu")
    examples = few_shot(config)
    asked = [question(config, document, examples=examples) for document in documents]
    outcomes = answered(language_model, config, asked, batch_size=8, should_stop=lambda: False)
    assert outcomes is not None
    return {name: [outcome.scores[name] for outcome in outcomes] for name in config.figures()}


def test_a_text_without_a_context_and_one_that_ends_in_spaces() -> None:
    """The two cases in which tokens are cut in a way of their own."""
    documents = [{"begin": "", "end": "Bees are insects."}, {"begin": "Bees make  ", "end": "honey from nectar."}]
    config = {"task": "edges", "output_type": "loglikelihood", "doc_to_text": "begin", "doc_to_target": "end"}
    found, expected = ours(TaskConfig.model_validate(config), documents), theirs(config, documents, chat=False)
    assert found["perplexity"] == pytest.approx(expected["perplexity"], abs=1e-4)


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("shots", [0, 1])
@pytest.mark.parametrize("name", ["facts", "definitions", "on-topic"])
def test_scores_every_document_as_lm_eval_does(name: str, shots: int, chat: bool) -> None:
    body = json.loads((EXAMPLES / "tasks" / f"{name}.json").read_text())
    shared = {key: value for key, value in body["config"].items() if key != "apply_chat_template"}
    if shots:
        samples = body["documents"][:2]
        shared |= {"num_fewshot": shots, "fewshot_config": {"sampler": "first_n", "samples": samples}}
    expected = theirs(shared, body["documents"], chat=chat)
    found = ours(TaskConfig.model_validate({**shared, "apply_chat_template": chat}), body["documents"])
    assert found.keys() == expected.keys()
    for figure, values in expected.items():
        assert found[figure] == pytest.approx(values, abs=1e-4), figure
