from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from app.rlaif.comparison import Answer, InvalidReason, Order
from app.rlaif.judges import ReplayJudge
from app.rlaif.questions import Question
from app.rlaif.rendering import prompt_hash
from tests.judges.questions import POLITE, RUDE, question
from tests.judges.running import answers
from tests.judges.storing import record_program, write
from workers.judges.build import build_judge
from workers.judges.protocol import JudgedAnswer, JudgeMisconfigured

ROW: dict[str, Any] = {"comparison_id": "cmp_1", "order": "AB", "answer": "A"}


def replay(file: Path, *questions: Question) -> list[JudgedAnswer]:
    judge = build_judge(ReplayJudge(family="gpt", answers="answers_1"), may_spend=lambda: False, answers=file)
    return asyncio.run(answers(judge, questions))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "answers.jsonl"


class TestStoredAnswer:
    def test_is_found_by_comparison_and_order_in_the_comparisons_own_numbering(self, file: Path) -> None:
        write(file, [ROW | {"probability": 0.9, "raw_text": "A"}, ROW | {"order": "BA", "answer": "B"}])
        ab, ba = replay(file, question(order=Order.AB), question(order=Order.BA))
        assert (ab.order, ab.answer, ab.probability, ab.raw_text) == (Order.AB, Answer.A, 0.9, "A")
        assert (ba.order, ba.answer, ba.probability, ba.raw_text) == (Order.BA, Answer.B, 0.0, None)
        assert ab.cost_usd == 0

    def test_by_prompt_answers_what_is_shown_whatever_the_numbering(self, file: Path) -> None:
        asked = question(POLITE, RUDE, order=Order.BA)
        write(file, [{"prompt_hash": prompt_hash(asked.messages()), "order": "BA", "answer": "A", "probability": 0.8}])
        same, renumbered = replay(file, asked, question(RUDE, POLITE, order=Order.AB))
        assert (same.answer, same.probability) == (Answer.A, 0.8)
        assert renumbered.answer is Answer.B
        assert renumbered.probability == pytest.approx(0.2)

    def test_by_prompt_answers_no_other_prompt_of_its_comparison(self, file: Path) -> None:
        asked = question()
        write(file, [ROW | {"prompt_hash": prompt_hash(asked.messages())}])
        found, changed = replay(file, asked, question(first=POLITE + " Now."))
        assert found.answer is Answer.A
        assert changed.invalid_reason is InvalidReason.SERVER

    def test_missing_is_invalid_and_says_so(self, file: Path) -> None:
        write(file, [ROW])
        (given,) = replay(file, question(order=Order.BA))
        assert (given.answer, given.probability) == (Answer.INVALID, None)
        assert given.invalid_reason is InvalidReason.SERVER
        assert "no stored answer" in (given.raw_text or "")

    def test_repeat_is_another_question(self, file: Path) -> None:
        write(file, [ROW | {"repeat": 1}])
        assert [given.answer for given in replay(file, question())] == [Answer.INVALID]

    def test_tie_and_invalid_are_answers(self, file: Path) -> None:
        write(file, [ROW | {"answer": "TIE"}, ROW | {"order": "BA", "answer": "INVALID", "invalid_reason": "refusal"}])
        tie, invalid = replay(file, question(order=Order.AB), question(order=Order.BA))
        assert (tie.answer, tie.probability) == (Answer.TIE, 0.5)
        assert (invalid.answer, invalid.probability) == (Answer.INVALID, None)
        assert invalid.invalid_reason is InvalidReason.REFUSAL

    def test_fields_of_an_exported_verdict_that_it_does_not_need_are_ignored(self, file: Path) -> None:
        write(file, [ROW | {"id": "verdict_1", "cost_usd": 0.1, "created_at": "2025-01-01T00:00:00Z"}])
        assert [given.answer for given in replay(file, question())] == [Answer.A]

    def test_program_is_repeated_to_the_bit(self, file: Path) -> None:
        questions = [question(POLITE, RUDE, order=order) for order in Order]
        asyncio.run(record_program(file, questions))
        assert all(given.answer is Answer.A for given in replay(file, *questions))


class TestBadFile:
    @pytest.mark.parametrize(
        ("row", "complaint"),
        [
            ({"order": "AB", "answer": "A"}, "say what is answered"),
            (ROW | {"answer": "first"}, "answer"),
            (ROW | {"order": "ab"}, "order"),
            (ROW | {"probability": 1.5}, "probability"),
            (ROW | {"answer": "INVALID"}, "INVALID"),
            (ROW | {"invalid_reason": "parse"}, "parse"),
            (ROW | {"prompt_hash": "abc"}, "prompt_hash"),
            (ROW | {"comparison_id": "cmp_0"}, "a second time"),
        ],
    )
    def test_names_the_line(self, file: Path, row: dict[str, Any], complaint: str) -> None:
        write(file, [ROW | {"comparison_id": "cmp_0"}, row])
        with pytest.raises(JudgeMisconfigured, match=rf"line 2 .*{complaint}"):
            replay(file)

    def test_that_is_not_there_or_not_named(self, file: Path) -> None:
        with pytest.raises(JudgeMisconfigured, match="cannot be read"):
            replay(file)
        with pytest.raises(JudgeMisconfigured, match="upload it again"):
            build_judge(ReplayJudge(family="gpt", answers="answers_1"), may_spend=lambda: False)

    def test_of_garbage(self, file: Path) -> None:
        file.write_bytes(b"\xff\xfe garbage\n")
        with pytest.raises(JudgeMisconfigured, match="line 1"):
            replay(file)
        file.write_text("not json\n")
        with pytest.raises(JudgeMisconfigured, match="line 1"):
            replay(file)
