"""The judge that is a program: it scores both completions by checks and prefers the better score."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable

from app.rlaif.beliefs import lean
from app.rlaif.checks import CheckScore, NothingToCheck, answer_text, score_completion, user_text
from app.rlaif.judges import ChecksJudge
from app.rlaif.pairwise import PairQuestion
from app.rlaif.points import sigmoid
from app.rlaif.questions import PairAnswer, Question
from app.rlaif.rendering import Response
from app.rlaif.rubric import Rubric
from workers.judges.protocol import Judged, JudgeMisconfigured


class ProgramJudge:
    """Indifferent to presentation order by construction, and free."""

    def __init__(self, spec: ChecksJudge) -> None:
        self._spec = spec
        self._own = Rubric(criteria=spec.criteria) if spec.criteria else None

    async def judge(self, questions: Iterable[Question]) -> AsyncGenerator[Judged, None]:
        """Raises JudgeMisconfigured at a question whose rubric has nothing that a program can check."""
        for question in questions:
            yield Judged((self._answer(question),))

    async def aclose(self) -> None:
        """Holds nothing."""

    def _answer(self, question: Question) -> PairAnswer:
        if not isinstance(question, PairQuestion):
            raise JudgeMisconfigured("a program compares two responses and answers no other question")
        first, second = self._score(question, question.first), self._score(question, question.second)
        probability = sigmoid(self._spec.sharpness * (first.total - second.total))
        scores = {name: (score, second.by_criterion[name]) for name, score in first.by_criterion.items()}
        return question.scored(lean(probability), probability, scores=scores)

    def _score(self, question: PairQuestion, response: Response) -> CheckScore:
        case = question.case
        try:
            return score_completion(
                self._own or case.rubric,
                answer_text(response.turns),
                prompt=user_text(case.prompt),
                reference=case.reference,
            )
        except NothingToCheck as error:
            raise JudgeMisconfigured(f"comparison {question.comparison_id}: {error}") from error
