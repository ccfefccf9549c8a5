"""What the report's tables say of capability tasks and evaluators."""

from __future__ import annotations

from app.rlaif.blocks import Heading, Table
from app.rlaif.evaluator import EvaluatorFigure, EvaluatorResult
from app.rlaif.evaluator_blocks import evaluator_blocks
from app.rlaif.measured import Measured
from app.rlaif.task_blocks import task_blocks
from app.rlaif.task_evidence import TaskFigure, TaskResult

DIFFERENCE = Measured(value=-0.05, low=-0.1, high=0.0, n=40)


def figure(name: str, *, higher_is_better: bool, binary: bool) -> TaskFigure:
    return TaskFigure(
        figure=name,
        higher_is_better=higher_is_better,
        base=0.9,
        policy=0.85,
        difference=DIFFERENCE,
        gained=1 if binary else None,
        lost=3 if binary else None,
        p_value=0.625 if binary else None,
    )


class TestTasks:
    def test_a_row_a_figure(self) -> None:
        figures = [
            figure("acc", higher_is_better=True, binary=True),
            figure("perplexity", higher_is_better=False, binary=False),
        ]
        task = TaskResult(
            task_id="task_1", digest="d", documents=40, base_digest="b", policy_digest="p", figures=figures
        )
        heading, table = task_blocks({"facts": task})
        assert heading == Heading("Capability tasks")
        assert isinstance(table, Table)
        shared = ("40", "0.900", "0.850", "-0.050", "-0.100 to +0.000")
        assert table.rows == (
            ("facts", "acc", *shared, "1", "3", "0.62"),
            ("facts", "perplexity (lower is better)", *shared, "-", "-", "-"),
        )

    def test_nothing_without_tasks(self) -> None:
        assert list(task_blocks({})) == []


class TestEvaluators:
    def test_a_row_a_cohort_and_who_rated(self) -> None:
        points = EvaluatorFigure(base=7.25, policy=7.2, difference=DIFFERENCE, base_below=0.1, policy_below=0.2, n=40)
        found = EvaluatorResult(
            version=1,
            rubric_hash="0123456789abcdef",
            judge_id="judge_9",
            threshold=5.5,
            overall=points,
            by_cohort={"honesty": points},
            coverage=None,
            left_out=2,
        )
        own = found.model_copy(update={"version": 0, "overall": None, "by_cohort": {}})
        _, _, figures, about = evaluator_blocks({"toxicity": found, "mine": own})
        assert isinstance(figures, Table)
        assert isinstance(about, Table)
        shared = ("7.25", "7.20", "-0.05", "-0.10 to +0.00", "0.100", "0.200", "40")
        assert figures.rows == (("toxicity", "all", *shared), ("toxicity", "honesty", *shared))
        assert about.rows == (
            ("mine", "own", "0123456789ab", "judge_9", "5.5", "-", "2"),
            ("toxicity", "built in, 1", "0123456789ab", "judge_9", "5.5", "-", "2"),
        )
