"""How many characters a question holds beside its prompt and its responses: measured on one that is rendered. Pure."""

from __future__ import annotations

from app.rlaif.comparison import Order
from app.rlaif.listwise import ListQuestion, Ranked
from app.rlaif.modes import Mode
from app.rlaif.pairwise import PairQuestion
from app.rlaif.pointwise import PointQuestion
from app.rlaif.questions import AnswerStyle, Question
from app.rlaif.rendering import Case, Response
from app.rlaif.rubric import Rubric

_NOTHING = Response(())


def overhead(rubric: Rubric, mode: Mode, style: AnswerStyle) -> int:
    """Rules, rubric and delimiters of one question, in characters."""
    return sum(len(message["content"]) for message in _question(rubric, mode, style).messages())


def _question(rubric: Rubric, mode: Mode, style: AnswerStyle) -> Question:
    case = Case((), rubric, key=b"")
    match mode:
        case Mode.LISTWISE:
            pairs = (Ranked("", 0, 1),)
            return ListQuestion(case, (_NOTHING, Response((), 1)), pairs, reverse=False)
        case Mode.POINTWISE:
            return PointQuestion(case, _NOTHING, "", Order.AB, style=style)
        case Mode.PER_CRITERION:
            alone = Case((), rubric.only(rubric.criteria[0]), key=b"")
            return PairQuestion(alone, _NOTHING, _NOTHING, "", Order.AB, style=style)
        case Mode.PAIRWISE:
            return PairQuestion(case, _NOTHING, _NOTHING, "", Order.AB, style=style)
