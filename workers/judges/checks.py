"""The judge that is a program: it scores completions by checks, and of two prefers the better score."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

from app.rlaif.beliefs import lean
from app.rlaif.checks import CheckScore, NothingToCheck, answer_text, score_completion, user_text
from app.rlaif.judges import ChecksJudge
from app.rlaif.pairwise import PairQuestion
from app.rlaif.points import POINTS, sigmoid
from app.rlaif.pointwise import PointQuestion
from app.rlaif.questions import PairAnswer, PointsAnswer, Question
from app.rlaif.rendering import Case, Response
from workers.judges.protocol import Judged, JudgeMisconfigured


class ProgramJudge:
    """Indifferent to presentation order by construction, and free."""

    def __init__(self, spec: ChecksJudge) -> None:
        self._spec = spec

    async def judge(self, questions: Iterable[Question]) -> AsyncGenerator[Judged, None]:
        """Raises JudgeMisconfigured at a question whose rubric has nothing that a program can check."""
        for question in questions:
            yield self._judged(question)

    async def aclose(self) -> None:
        """Holds nothing."""

    def _judged(self, question: Question) -> Judged:
        if isinstance(question, PointQuestion):
            return Judged((self._rated(question),))
        if isinstance(question, PairQuestion):
            return Judged((self._compared(question),))
        raise JudgeMisconfigured("a program compares two responses or rates one, and answers no other question")

    def _rated(self, question: PointQuestion) -> PointsAnswer:
        score = self._score(question.case, question.response, f"completion {question.completion_id}")
        return PointsAnswer(question.unit, _points(score), None)

    def _compared(self, question: PairQuestion) -> PairAnswer:
        name = f"comparison {question.comparison_id}"
        first, second = (self._score(question.case, each, name) for each in (question.first, question.second))
        probability = sigmoid(self._spec.sharpness * (first.total - second.total))
        scores = {name: (score, second.by_criterion[name]) for name, score in first.by_criterion.items()}
        return question.scored(lean(probability), probability, scores=scores)

    def _score(self, case: Case, response: Response, name: str) -> CheckScore:
        try:
            return score_completion(
                self._spec.reads(case.rubric),
                answer_text(response.turns),
                prompt=user_text(case.prompt),
                reference=case.reference,
            )
        except NothingToCheck as error:
            raise JudgeMisconfigured(f"{name}: {error}") from error


def _points(score: CheckScore) -> float:
    """From 0 to 1 as points from 1 to 10."""
    return min(POINTS) + score.total * (max(POINTS) - min(POINTS))
