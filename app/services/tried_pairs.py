"""What was asked and answered about a trial's pairs.

A question is rendered again from what is stored, and shown only when its hash is that of the question which was put.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from pydantic import TypeAdapter
from sqlalchemy.orm import Session

from app.config import Settings
from app.db.models import Purpose, Run, Score, Split, Verdict
from app.repositories import trials
from app.repositories.calibrations import fitted_by
from app.repositories.comparisons import ComparisonRow, comparisons_of
from app.repositories.completions import CompletionRow, completions_by_id
from app.repositories.prompts import PromptRow, prompts_in_range
from app.repositories.run_inputs import JudgeRow, members, run_inputs
from app.repositories.scores import compared_by_scores
from app.repositories.trials import TriedAnswer, TriedPair, TriedRating
from app.rlaif.beliefs import beliefs_of
from app.rlaif.comparison import Verdict as Answered
from app.rlaif.golden import GoldenExample
from app.rlaif.golden_outcome import answers_by_order, outcome
from app.rlaif.instruments import EQUAL_VOTES, Instrument
from app.rlaif.judges import JudgeSpec, calibration_of, style_of
from app.rlaif.messages import Message
from app.rlaif.modes import Mode
from app.rlaif.pairwise import PairQuestion
from app.rlaif.pointwise import PointQuestion
from app.rlaif.questions import AnswerStyle, Question, Side
from app.rlaif.recipe import Recipe
from app.rlaif.rendering import Case, ChatMessages, Response, prompt_hash
from app.rlaif.rubric import Criterion, Rubric
from app.services.delimiters import delimiter_key

MOST_PAIRS = 1000
_SPEC: TypeAdapter[JudgeSpec] = TypeAdapter(JudgeSpec)


class Cohort(StrEnum):
    """What a trial's prompt is: the one pair of a trial, or a golden example, which gives the prompt its id."""

    TRIAL = "trial"
    GOLDEN = "golden"


def tried_pairs(session: Session, run: Run, *, settings: Settings) -> Iterator[TriedPair]:
    """By the prompts' order; a pair that no worker has taken up yet has no answers."""
    book = _Book.of(session, run, settings)
    prompts = prompts_in_range(session, run.prompt_set_id, split=Split.TRAIN, offset=0, limit=MOST_PAIRS)
    rows = comparisons_of(
        session, run.id, round_=0, purposes=(Purpose.TRAIN,), prompt_ids=[prompt.id for prompt in prompts]
    )
    compared = {row.prompt_id: row for row in rows}
    completions = completions_by_id(session, {id_ for row in rows for id_ in (row.first_id, row.second_id)})
    rated = compared_by_scores(session, run.id, judge_ids=list(book.styles), comparison_ids=[row.id for row in rows])
    for prompt in prompts:
        golden = book.golden(prompt)
        if (row := compared.get(prompt.id)) is None:
            yield TriedPair(golden)
            continue
        asked = _Asked(book, book.case(prompt), row, completions)
        yield asked.pair(golden, [verdict for verdict, _ in rated.get(row.id, ())])


@dataclass(frozen=True, slots=True)
class _Book:
    """What all pairs of a trial share."""

    rubric: Rubric
    key: bytes
    recipe: Recipe
    settled: bool
    instrument: Instrument
    styles: Mapping[str, AnswerStyle]
    verdicts: Mapping[str, list[Verdict]]
    scores: Mapping[str, list[Score]]

    @classmethod
    def of(cls, session: Session, run: Run, settings: Settings) -> _Book:
        inputs, recipe = run_inputs(session, run.id), Recipe.model_validate(run.recipe)
        judge = inputs.judge
        asked = () if judge is None else members(judge)
        verdicts, scores = defaultdict(list), defaultdict(list)
        for verdict in trials.verdicts(session, run.id):
            verdicts[verdict.comparison_id].append(verdict)
        for score in trials.scores(session, run.id):
            scores[score.completion_id].append(score)
        return cls(
            rubric=Rubric.model_validate({} if inputs.rubric is None else inputs.rubric.content),
            key=delimiter_key(session, settings),
            recipe=recipe,
            settled=run.status.terminal,
            instrument=EQUAL_VOTES if judge is None else _instrument(session, judge),
            styles={each.id: style_of(_SPEC.validate_python(each.spec)) for each in asked},
            verdicts=verdicts,
            scores=scores,
        )

    @property
    def one_answer_an_order(self) -> bool:
        """Whether the first answer in an order is all that there will be."""
        return self.recipe.judge.mode is not Mode.PER_CRITERION and len(self.styles) == 1

    def golden(self, prompt: PromptRow) -> GoldenExample | None:
        if prompt.cohort != Cohort.GOLDEN:
            return None
        return next(example for example in self.rubric.golden_examples if example.name == prompt.external_id)

    def case(self, prompt: PromptRow) -> Case:
        own = tuple(Criterion.model_validate(criterion) for criterion in prompt.criteria)
        return Case(
            prompt=tuple(Message.model_validate(message) for message in prompt.messages),
            rubric=self.rubric.with_criteria(own),
            key=self.key,
            prompt_id=prompt.external_id,
            reference=prompt.reference,
            tools=prompt.tools,
        )


def _instrument(session: Session, judge: JudgeRow) -> Instrument:
    calibration = calibration_of(_SPEC.validate_python(judge.spec))
    return EQUAL_VOTES if calibration is None else fitted_by(session, calibration)


@dataclass(frozen=True, slots=True)
class _Asked:
    """One comparison, and the questions that were asked about it."""

    book: _Book
    case: Case
    row: ComparisonRow
    completions: Mapping[str, CompletionRow]

    def pair(self, golden: GoldenExample | None, rated: list[Answered]) -> TriedPair:
        """`rated` is what ratings say of the two, in the comparison's numbering."""
        answers = tuple(TriedAnswer(each, self._swapped, self._compared(each)) for each in self._verdicts)
        own = [answer.own for answer in answers] + [each.swap() if self._swapped else each for each in rated]
        given = answers_by_order(own, self.book.instrument)
        complete = self.book.settled or self.book.one_answer_an_order
        return TriedPair(
            golden=golden,
            principle=self.row.principle,
            probability=self.book.instrument.probability(beliefs_of(own)) if complete else None,
            answers=answers,
            ratings=tuple(self._ratings()),
            outcome=outcome(golden.expected, given) if golden and complete else None,
        )

    @property
    def _verdicts(self) -> list[Verdict]:
        return self.book.verdicts.get(self.row.id, [])

    @property
    def _swapped(self) -> bool:
        return self.completions[self.row.first_id].position > self.completions[self.row.second_id].position

    def _ratings(self) -> Iterator[TriedRating]:
        sides = (self.row.second_id, self.row.first_id) if self._swapped else (self.row.first_id, self.row.second_id)
        for id_, side in zip(sides, Side, strict=True):
            for score in self.book.scores.get(id_, ()):
                question = PointQuestion(
                    self.case,
                    self._response(id_),
                    id_,
                    score.order,
                    score.repeat,
                    self.row.principle,
                    self.book.styles[score.judge_id],
                )
                yield TriedRating(score, side, _as_put(question, score.prompt_hash))

    def _compared(self, verdict: Verdict) -> ChatMessages | None:
        question = PairQuestion(
            self._case_of(verdict.criterion),
            self._response(self.row.first_id),
            self._response(self.row.second_id),
            self.row.id,
            verdict.order,
            verdict.repeat,
            self.row.principle,
            style=self.book.styles[verdict.judge_id],
        )
        return _as_put(question, verdict.prompt_hash)

    def _case_of(self, name: str) -> Case:
        """With the criterion that was judged alone; its rubric then holds nothing else."""
        alone = next((criterion for criterion in self.case.rubric.criteria if criterion.name == name), None)
        return self.case if alone is None else replace(self.case, rubric=self.case.rubric.only(alone))

    def _response(self, id_: str) -> Response:
        row = self.completions[id_]
        return Response(row.messages, row.position)


def _as_put(question: Question, hash_: str | None) -> ChatMessages | None:
    """The question's messages, if they are those that were put."""
    if hash_ is None:
        return None
    messages = question.messages()
    return messages if prompt_hash(messages) == hash_ else None
