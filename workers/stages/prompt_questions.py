"""The questions about one prompt's comparisons, in each of the modes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import product

from app.db.models import CompletionSource
from app.repositories.completions import CompletionRow
from app.rlaif.comparison import Order
from app.rlaif.listwise import ListQuestion, Ranked
from app.rlaif.modes import Mode
from app.rlaif.pairwise import PairQuestion
from app.rlaif.pointwise import PointQuestion
from app.rlaif.questions import AnswerStyle, Question
from app.rlaif.rendering import Case, Response
from workers.stages.compare import Compared


@dataclass(frozen=True)
class PromptQuestions:
    """Everything that is asked about one prompt; each completion is rendered once for all of it."""

    case: Case
    items: Sequence[Compared]
    repeats: int
    mode: Mode
    style: AnswerStyle
    _responses: dict[str, Response] = field(default_factory=dict)

    def __iter__(self) -> Iterator[Question]:
        match self.mode:
            case Mode.PAIRWISE:
                return self._pairs()
            case Mode.PER_CRITERION:
                return self._criteria()
            case Mode.LISTWISE:
                return self._lists()
            case Mode.POINTWISE:
                return self._points()

    def _pairs(self) -> Iterator[Question]:
        for item in self.items:
            for repeat, order in product(range(self.repeats), Order):
                yield self._pair(self.case, item, order, repeat)

    def _criteria(self) -> Iterator[Question]:
        """One criterion at a time, in the rubric's order: each question shows a rubric of it alone."""
        rubric = self.case.rubric
        alone = [(each, replace(self.case, rubric=rubric.only(each))) for each in rubric.criteria]
        for item in self.items:
            for (criterion, case), repeat, order in product(alone, range(self.repeats), Order):
                asked = self._pair(case, item, order, repeat)
                yield replace(asked, criterion=criterion.name, weight=criterion.weight)

    def _lists(self) -> Iterator[Question]:
        for group in groups(self.items):
            rows = completions_in(group)
            places = {row.id: place for place, row in enumerate(rows)}
            pairs = tuple(Ranked(each.row.id, places[each.first.id], places[each.second.id]) for each in group)
            responses = tuple(self._response(row) for row in rows)
            for repeat, reverse in product(range(self.repeats), (False, True)):
                yield ListQuestion(self.case, responses, pairs, reverse, repeat, group[0].row.principle)

    def _points(self) -> Iterator[Question]:
        principle = self.items[0].row.principle
        for row in completions_in(self.items):
            for repeat, order in product(range(self.repeats), Order):
                yield PointQuestion(self.case, self._response(row), row.id, order, repeat, principle, self.style)

    def _pair(self, case: Case, item: Compared, order: Order, repeat: int) -> PairQuestion:
        first, second = self._response(item.first), self._response(item.second)
        return PairQuestion(
            case,
            first,
            second,
            item.row.id,
            order,
            repeat,
            principle=item.row.principle,
            style=self.style,
        )

    def _response(self, row: CompletionRow) -> Response:
        if row.id not in self._responses:
            candidate = row.position if row.source is CompletionSource.IMPORTED else None
            self._responses[row.id] = Response(row.messages, candidate)
        return self._responses[row.id]


def completions_in(items: Sequence[Compared]) -> list[CompletionRow]:
    """The completions of some comparisons, each once, by source and position."""
    rows = {row.id: row for item in items for row in (item.first, item.second)}
    return sorted(rows.values(), key=lambda row: (row.source, row.position))


def groups(items: Sequence[Compared]) -> list[list[Compared]]:
    """The comparisons, by the groups whose members are compared with one another and with nobody else."""
    leaders: dict[str, str] = {}

    def leader(id_: str) -> str:
        while (above := leaders.setdefault(id_, id_)) != id_:
            id_ = above
        return id_

    for item in items:
        leaders[leader(item.second.id)] = leader(item.first.id)
    found: dict[str, list[Compared]] = {}
    for item in items:
        found.setdefault(leader(item.first.id), []).append(item)
    return list(found.values())
