"""What a model makes of a task's questions, beside plain forward passes; lm_eval is the oracle in test_task_oracle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from app.rlaif.task import TaskConfig
from app.rlaif.task_template import Question
from workers.sampling.continuations import Continuation, WindowTooSmall, likelihoods, written
from workers.sampling.language_model import LanguageModel
from workers.sampling.task_answers import answered

CONTEXT = "the moon is very"
TEXTS = (" bright", " cold and dark", " great")


@pytest.fixture(scope="module")
def language_model(model_dir: Path) -> LanguageModel:
    return LanguageModel.load(model_dir, device="cpu", dtype=torch.float32)


def go_on() -> bool:
    return False


def alone(language_model: LanguageModel, context: str, text: str) -> tuple[float, bool]:
    """By one forward pass over the whole text, nothing padded."""
    tokenizer = language_model.tokenizer
    whole = tokenizer(context + text)["input_ids"]
    begin = len(tokenizer(context)["input_ids"])
    with torch.no_grad():
        logits = language_model.model(torch.tensor([whole])).logits[0].log_softmax(dim=-1)
    places = list(range(begin, len(whole)))
    total = sum(float(logits[place - 1, whole[place]]) for place in places)
    return total, all(int(logits[place - 1].argmax()) == whole[place] for place in places)


class TestLikelihoods:
    @pytest.mark.parametrize("batch_size", [1, 2, 8])
    def test_are_those_of_plain_passes_in_any_batch(self, language_model: LanguageModel, batch_size: int) -> None:
        asked = [Continuation(context, text, False) for context in (CONTEXT, "rain") for text in TEXTS]
        found = likelihoods(language_model, asked, batch_size=batch_size, should_stop=go_on)
        assert found is not None
        for each, likelihood in zip(asked, found, strict=True):
            logprob, greedy = alone(language_model, each.context, each.text)
            assert likelihood.logprob == pytest.approx(logprob, abs=1e-4)
            assert likelihood.greedy is greedy

    def test_what_the_model_writes_is_greedy(self, language_model: LanguageModel) -> None:
        (text,) = written(language_model, [(CONTEXT, False)], until=(), max_new_tokens=4, should_stop=go_on) or [""]
        found = likelihoods(language_model, [Continuation(CONTEXT, text, False)], batch_size=1, should_stop=go_on)
        assert found is not None
        assert found[0].greedy

    def test_choices_of_one_token_cost_one_row(
        self, language_model: LanguageModel, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        rows: list[int] = []
        forward = language_model.model.forward

        def counted(*args: Any, **kwargs: Any) -> Any:
            rows.append(len(kwargs["input_ids"]))
            return forward(*args, **kwargs)

        monkeypatch.setattr(language_model.model, "forward", counted)
        asked = [Continuation(CONTEXT, letter, False) for letter in "ABCD"]
        assert likelihoods(language_model, asked, batch_size=8, should_stop=go_on) is not None
        assert rows == [1]

    def test_a_context_beyond_the_window_loses_its_beginning(self, language_model: LanguageModel) -> None:
        window = language_model.window
        assert window is not None
        long = "moon " * (2 * window)
        asked = [Continuation(long, "rain", False), Continuation("x " + long, "rain", False)]
        one, other = likelihoods(language_model, asked, batch_size=2, should_stop=go_on) or (None, None)
        assert one is not None
        assert one == other

    def test_a_text_beyond_the_window_is_refused(self, language_model: LanguageModel) -> None:
        with pytest.raises(WindowTooSmall, match="shorten the choices"):
            likelihoods(language_model, [Continuation("a", "moon " * 20_000, False)], batch_size=1, should_stop=go_on)

    def test_nothing_when_asked_to_stop(self, language_model: LanguageModel) -> None:
        asked = [Continuation(CONTEXT, text, False) for text in TEXTS]
        assert likelihoods(language_model, asked, batch_size=1, should_stop=lambda: True) is None


class TestWritten:
    def test_ends_before_the_stop(self, language_model: LanguageModel) -> None:
        (whole,) = written(language_model, [(CONTEXT, False)], until=(), max_new_tokens=12, should_stop=go_on) or [""]
        stop = whole[3:5]
        (cut,) = written(language_model, [(CONTEXT, False)], until=(stop,), max_new_tokens=12, should_stop=go_on) or [
            ""
        ]
        assert cut == whole.split(stop)[0]

    def test_is_the_same_in_every_batch(self, language_model: LanguageModel) -> None:
        prompts = [(f"{CONTEXT} {'and ' * count}", False) for count in range(6)]
        together = written(language_model, prompts, until=(), max_new_tokens=8, should_stop=go_on)
        single = [
            text
            for prompt in prompts
            for text in written(language_model, [prompt], until=(), max_new_tokens=8, should_stop=go_on) or ()
        ]
        assert together == single

    def test_an_answer_longer_than_the_window_is_refused(self, language_model: LanguageModel) -> None:
        with pytest.raises(WindowTooSmall, match="max_gen_toks"):
            written(language_model, [("a", False)], until=(), max_new_tokens=10**6, should_stop=go_on)


class TestAnswered:
    def test_a_chat_is_asked_in_the_models_own_format(self, language_model: LanguageModel) -> None:
        config = TaskConfig.model_validate(
            {
                "task": "t",
                "output_type": "multiple_choice",
                "doc_to_text": "q",
                "doc_to_choice": ["bright", "cold"],
                "doc_to_target": 0,
                "apply_chat_template": True,
            }
        )
        asked = Question("be brief", CONTEXT, ("bright", "cold"), (0,), ())
        outcomes = answered(language_model, config, [asked], batch_size=4, should_stop=go_on)
        assert outcomes is not None
        (found,) = outcomes
        rendered = language_model.tokenizer.apply_chat_template(
            [{"role": "system", "content": "be brief"}, {"role": "user", "content": CONTEXT}],
            tokenize=False,
            add_generation_prompt=True,
        )
        asked_about = [Continuation(rendered, text, True) for text in ("bright", "cold")]
        expected = likelihoods(language_model, asked_about, batch_size=1, should_stop=go_on)
        assert expected is not None
        assert found.logprobs == pytest.approx([each.logprob for each in expected], abs=1e-4)
        assert found.scores["acc"] == float(found.logprobs[0] >= found.logprobs[1])
