"""Log-probabilities of a policy's own answers, beside those of the model that it began as."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.training.tiny import Recorder, make_pairs
from workers.sampling.language_model import render_prompt
from workers.training.contracts import TrainingStopped
from workers.training.divergence import Answer, log_ratios


@pytest.fixture(scope="module")
def policy_dir(model_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base model, a little off."""
    directory = tmp_path_factory.mktemp("policy") / "model"
    shutil.copytree(model_dir, directory)
    model = AutoModelForCausalLM.from_pretrained(directory)
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    model.save_pretrained(directory)
    return directory


def answers(count: int, *, ended: bool = True) -> list[Answer]:
    return [Answer(pair.prompt, pair.first, ended) for pair in make_pairs(count)]


@torch.no_grad()
def plain(model_dir: Path, answer: Answer) -> float:
    """The same by plain transformers: the whole conversation in, log-softmax, the answer's tokens picked."""
    model, tokenizer = AutoModelForCausalLM.from_pretrained(model_dir), AutoTokenizer.from_pretrained(model_dir)
    prompt = tokenizer(render_prompt(tokenizer, answer.prompt), add_special_tokens=False)["input_ids"]
    said = tokenizer(answer.completion, add_special_tokens=False)["input_ids"]
    ids = torch.tensor([*prompt, *said, *([tokenizer.eos_token_id] if answer.ended else [])])
    logprobs = torch.log_softmax(model(input_ids=ids[None]).logits[0].double(), dim=-1)
    places = torch.arange(len(prompt), len(ids))
    return float(logprobs[places - 1, ids[places]].sum())


@pytest.mark.parametrize("ended", [True, False])
def test_equals_plain_transformers(model_dir: Path, policy_dir: Path, ended: bool) -> None:
    given = answers(6, ended=ended)

    found = log_ratios(policy_dir, model_dir, given, progress=Recorder())

    expected = [plain(policy_dir, answer) - plain(model_dir, answer) for answer in given]
    assert found == pytest.approx(expected, abs=1e-3)
    assert max(map(abs, expected)) > 0.1


def test_a_model_is_no_way_off_from_itself(model_dir: Path) -> None:
    assert log_ratios(model_dir, model_dir, answers(4), progress=Recorder()) == [0.0] * 4


def test_an_answer_beyond_the_window_has_no_figure(model_dir: Path, policy_dir: Path) -> None:
    short, other = answers(2)
    long = replace(other, completion="word " * 5000)

    found = log_ratios(policy_dir, model_dir, [long, short], progress=Recorder())

    assert found[0] is None
    assert found[1:] == log_ratios(policy_dir, model_dir, [short], progress=Recorder())


def test_what_was_cut_before_its_first_token_has_no_figure(model_dir: Path, policy_dir: Path) -> None:
    (answer,) = answers(1, ended=False)

    assert log_ratios(policy_dir, model_dir, [replace(answer, completion="")], progress=Recorder()) == [None]


def test_stops_between_batches(model_dir: Path, policy_dir: Path) -> None:
    with pytest.raises(TrainingStopped):
        log_ratios(policy_dir, model_dir, answers(4), progress=Recorder(stop_at_poll=2))
