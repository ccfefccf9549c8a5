"""The part of the lm-evaluation-harness format that runs here: what is read, what is refused, what it scores."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from app.rlaif.task import TaskConfig, task_digest
from app.rlaif.task_scoring import Likelihood, chosen, continuations, cut_at_stops, expected, written
from app.rlaif.task_template import DocumentRefused, Question, few_shot, question

CHOICE: dict[str, Any] = {
    "task": "weather",
    "output_type": "multiple_choice",
    "doc_to_text": "Question: {{q.strip()}}\nAnswer:",
    "doc_to_choice": "choices",
    "doc_to_target": "{{answer}}",
}
DOCUMENT = {"q": " What falls? ", "choices": ["rain", "stones"], "answer": 0}
WRITE: dict[str, Any] = {"task": "w", "output_type": "generate_until", "doc_to_text": "q", "doc_to_target": "a"}
READ: dict[str, Any] = {"task": "r", "output_type": "loglikelihood", "doc_to_text": "q", "doc_to_target": " {{a}}"}


def config(base: dict[str, Any] = CHOICE, **changes: Any) -> TaskConfig:
    return TaskConfig.model_validate({**base, **changes})


def asked(task: TaskConfig, document: dict[str, Any]) -> Question:
    return question(task, document, examples=few_shot(task))


class TestConfig:
    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"dataset_path": "hellaswag"}, "dataset_path names a data set to load"),
            ({"test_split": "test"}, "test_split names a split"),
            ({"process_results": "!function utils.score"}, "process_results is code"),
            ({"include": "base.yaml"}, "include reads another file"),
            ({"doc_to_text": "!function utils.text"}, "doc_to_text names code by !function"),
            ({"num_fewshots": 2}, "num_fewshots is not of the part"),
            ({"output_type": "loglikelihood_rolling"}, "output_type"),
            ({"doc_to_choice": None}, "needs doc_to_choice"),
            ({"num_fewshot": 1}, "holds 0 documents"),
            ({"metric_list": [{"metric": "exact_match"}]}, "is no metric of multiple_choice"),
            ({"metric_list": [{"metric": "acc"}, {"metric": "acc"}]}, "found twice: acc"),
            ({"metric_list": [{"metric": "acc", "aggregation": "perplexity"}]}, "the aggregation of acc is 'mean'"),
            ({"metric_list": [{"metric": "acc", "higher_is_better": False}]}, "higher_is_better of acc is True"),
            ({"metric_list": [{"metric": "acc", "ignore_case": True}]}, "options of exact_match"),
            ({"generation_kwargs": {"until": ["\n"]}}, "are for generate_until"),
        ],
    )
    def test_what_does_not_run_is_refused_by_name(self, changes: dict[str, Any], reason: str) -> None:
        with pytest.raises(ValidationError) as refusal:
            config(**changes)
        assert reason in str(refusal.value)

    def test_a_pattern_that_could_hang_a_worker_is_refused(self) -> None:
        steps = [{"function": "regex", "regex_pattern": r"(?<=a)b"}]
        with pytest.raises(ValidationError, match="RE2"):
            config(WRITE, filter_list=[{"name": "strict", "filter": steps}])

    def test_metrics_without_a_list_are_those_of_lm_eval(self) -> None:
        assert list(config().figures()) == ["acc", "acc_norm"]
        assert list(config(READ).figures()) == ["perplexity", "acc"]
        assert list(config(WRITE).figures()) == ["exact_match"]

    def test_answers_end_at_the_fewshot_delimiter_unless_told(self) -> None:
        assert config(WRITE).generation().until == ("\n\n",)
        assert config(WRITE, generation_kwargs={"until": "END"}).generation().until == ("END",)

    def test_the_digest_is_of_what_a_figure_depends_on(self) -> None:
        assert task_digest(config(), [DOCUMENT]) == task_digest(config(task="renamed"), [dict(DOCUMENT)])
        assert task_digest(config(), [DOCUMENT]) != task_digest(config(target_delimiter=""), [DOCUMENT])
        assert task_digest(config(), [DOCUMENT]) != task_digest(config(), [DOCUMENT, DOCUMENT])

    def test_survives_its_own_json(self) -> None:
        whole = config(WRITE, filter_list=[{"name": "f", "filter": [{"function": "regex", "regex_pattern": "a"}]}])
        assert TaskConfig.model_validate(whole.model_dump(mode="json")) == whole


class TestQuestion:
    def test_a_template_and_a_field(self) -> None:
        found = asked(config(), DOCUMENT)
        assert found == Question("", "Question: What falls?\nAnswer:", ("rain", "stones"), (0,), ())

    def test_examples_stand_before_it_with_their_answers(self) -> None:
        sample = {"q": "What burns?", "choices": ["wood", "sand"], "answer": 0}
        few = config(num_fewshot=1, fewshot_config={"samples": [sample]}, description="Be right.\n")
        found = asked(few, DOCUMENT)
        assert found.system == "Be right.\n"
        assert found.context == "Question: What burns?\nAnswer: wood\n\nQuestion: What falls?\nAnswer:"

    @pytest.mark.parametrize("target", ["{{answer}}", "{{choices[answer]}}", 0])
    def test_the_right_choice_by_place_or_text(self, target: str | int) -> None:
        assert asked(config(doc_to_target=target), DOCUMENT).gold == (0,)

    def test_choices_from_a_template(self) -> None:
        listed = config(doc_to_choice="{{[choices[1], choices[0]]}}")
        assert asked(listed, DOCUMENT).choices == ("stones", "rain")

    def test_several_right_texts(self) -> None:
        assert asked(config(WRITE), {"q": "x", "a": ["one", "1"]}).targets == ("one", "1")
        assert asked(config(WRITE, doc_to_target="{{[a, 1]}}"), {"q": "x", "a": "one"}).targets == ("one", "1")

    @pytest.mark.parametrize(
        ("changes", "document", "field", "reason"),
        [
            ({"doc_to_text": "{{missing}}"}, DOCUMENT, "doc_to_text", "is undefined"),
            ({"doc_to_text": "{{"}, DOCUMENT, "doc_to_text", "not a Jinja template"),
            ({"doc_to_text": "{% include 'x' %}"}, DOCUMENT, "doc_to_text", "no loader"),
            ({"doc_to_text": "{{ ''.__class__ }}"}, DOCUMENT, "doc_to_text", "unsafe"),
            ({"doc_to_text": "{{ choices.append('x') }}"}, DOCUMENT, "doc_to_text", "unsafe"),
            ({"doc_to_text": "{{ 'a' * 300000 }}"}, DOCUMENT, "doc_to_text", "are more than"),
            ({"doc_to_text": "{{answer}}"}, DOCUMENT, "doc_to_text", "stands for a choice"),
            ({"doc_to_text": "answer"}, DOCUMENT, "doc_to_text", "it gives int"),
            ({"doc_to_text": "{{ '\\x00' }}"}, DOCUMENT, "doc_to_text", "no text"),
            ({"doc_to_choice": "{{ ['a', '\\ud800'] }}"}, DOCUMENT, "doc_to_choice", "no text"),
            ({"description": "{{ '\\x00' }}"}, DOCUMENT, "description", "no text"),
            ({"doc_to_target": "{{ '²' }}"}, DOCUMENT, "doc_to_target", "'²' is none of the 2 choices"),
            ({"doc_to_target": "{{ '9' * 5000 }}"}, DOCUMENT, "doc_to_target", "is none of the 2 choices"),
            ({"doc_to_target": "7"}, DOCUMENT, "doc_to_target", "'7' is none of the 2 choices"),
            ({"doc_to_choice": "q"}, DOCUMENT, "doc_to_choice", "a list of texts"),
            ({"doc_to_choice": "{{q}}"}, DOCUMENT, "doc_to_choice", "is no list"),
            ({}, {**DOCUMENT, "choices": ["rain", ""]}, "doc_to_choice", "none empty"),
        ],
    )
    def test_what_makes_no_question(
        self, changes: dict[str, Any], document: dict[str, Any], field: str, reason: str
    ) -> None:
        with pytest.raises(DocumentRefused, match=reason) as refusal:
            asked(config(**changes), document)
        assert refusal.value.field == field

    def test_what_a_target_may_not_be(self) -> None:
        with pytest.raises(DocumentRefused, match="no text"):
            asked(config(WRITE, doc_to_target="{{ '\\x00' }}"), {"q": "x"})
        long = "[0x" + "f" * 5000 + "]"  # a number that Python reads and does not write
        assert asked(config(WRITE, doc_to_target=f"{{{{ '{long}' }}}}"), {"q": "x"}).targets == (long,)

    def test_a_document_without_an_answer(self) -> None:
        with pytest.raises(DocumentRefused, match="has no answer"):
            asked(config(WRITE), {"q": "x", "a": ""})


class TestScores:
    def test_acc_takes_the_likeliest_and_acc_norm_the_likeliest_by_character(self) -> None:
        found = [Likelihood(-2.0, False), Likelihood(-3.0, False)]
        scores = chosen(config(), found, choices=("ab", "abcdef"), gold=(1,))
        assert scores == {"acc": 0.0, "acc_norm": 1.0}

    def test_of_equally_likely_choices_the_first_counts(self) -> None:
        tied = [Likelihood(-2.0, False), Likelihood(-2.0, False)]
        assert chosen(config(), tied, choices=("a", "b"), gold=(1,))["acc"] == 0.0

    def test_a_text_is_right_when_it_is_what_the_model_would_write(self) -> None:
        assert expected(config(READ), Likelihood(-4.5, True)) == {"perplexity": -4.5, "acc": 1.0}

    def test_a_choice_has_the_delimiter_before_it_but_not_in_a_chat(self) -> None:
        assert continuations(config(), choices=["a", "b"], targets=[]) == [" a", " b"]
        assert continuations(config(apply_chat_template=True), choices=["a", "b"], targets=[]) == ["a", "b"]
        assert continuations(config(READ), choices=[], targets=[" x"]) == [" x"]

    def test_filters_read_the_same_answer_in_several_ways(self) -> None:
        number = [{"function": "regex", "regex_pattern": "#### ([0-9]+)"}, {"function": "take_first"}]
        last = [{"function": "regex", "regex_pattern": "[0-9]+", "group_select": -1}]
        task = config(WRITE, filter_list=[{"name": "strict", "filter": number}, {"name": "last", "filter": last}])
        assert written(task, "it is 4, or #### 5", targets=["5"]) == {
            "exact_match,strict": 1.0,
            "exact_match,last": 1.0,
        }
        assert written(task, "it is 4, or 5", targets=["5"]) == {"exact_match,strict": 0.0, "exact_match,last": 1.0}
        assert list(task.figures()) == ["exact_match,strict", "exact_match,last"]

    def test_what_exact_match_may_ignore(self) -> None:
        metric = {"metric": "exact_match", "ignore_case": True, "ignore_punctuation": True, "regexes_to_ignore": [","]}
        task = config(WRITE, metric_list=[metric])
        assert written(task, "1,000 Boats!", targets=["1000 boats"]) == {"exact_match": 1.0}
        assert written(config(WRITE), "1,000 Boats!", targets=["1000 boats"]) == {"exact_match": 0.0}

    def test_an_answer_ends_at_the_first_stop(self) -> None:
        assert cut_at_stops("one END two\nthree", ["\n", "END"]) == "one "
