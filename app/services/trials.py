"""Trials: a rubric revision and a judge tried on pairs given by hand, as a run that stops after judging.

One pair is a trial; all golden examples of a revision are its test. What is shown of a question is rendered again and
shown only when its hash is that of the question which was put.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from sqlalchemy.orm import Session

from app.config import Settings
from app.db.ids import Kind, new_id
from app.db.models import Purpose, RubricRevision, Run, RunKind, Split, Verdict
from app.db.session import WriteSession
from app.errors import Conflict, InvalidInput, NotFound
from app.repositories import trials
from app.repositories.comparisons import ComparisonRow, comparisons_of
from app.repositories.completions import CompletionRow, completions_by_id
from app.repositories.prompts import PromptRow, prompts_in_range
from app.repositories.trials import Trial, TriedAnswer, TriedPair
from app.rlaif.golden import JudgedPair
from app.rlaif.messages import Message, Role
from app.rlaif.pairwise import PairQuestion
from app.rlaif.prompt import Prompt
from app.rlaif.recipe import JudgeConfig, Recipe, SampleConfig, StageKind
from app.rlaif.rendering import Case, ChatMessages, Response, prompt_hash
from app.rlaif.rubric import Criterion, Rubric
from app.rlaif.seeds import derive_seed
from app.schemas.trial import GoldenTestIn, TrialIn
from app.services import judges, prompt_sets, rubrics, runs
from app.services.delimiters import delimiter_key
from app.services.run_parts import within

MOST_PAIRS = 1000
PAIR = "pair"
_COHORTS = {True: "golden", False: "trial"}


class NoGoldenExamples(Conflict):
    """Raised when a revision without golden examples is to be tested."""


class PrincipleUnknown(InvalidInput):
    """Raised when a trial names a principle that the revision does not have."""


def create(
    session: WriteSession, project_id: str, rubric_id: str, number: int, *, request: TrialIn, settings: Settings
) -> Trial:
    """A started trial of one pair. Raises NotFound, PrincipleUnknown, RunRefused."""
    revision = rubrics.get_revision(session, project_id, rubric_id, number)
    _require_principle(revision, request.principle)
    config = JudgeConfig(principle=request.principle, minimum_coverage=0.0)
    run = _start(session, project_id, revision, request, config, [_prompt(PAIR, request, golden=False)])
    return get(session, project_id, run.id, settings=settings)


def create_test(
    session: WriteSession, project_id: str, rubric_id: str, number: int, *, request: GoldenTestIn, settings: Settings
) -> Trial:
    """A started trial of all golden examples. Raises NotFound, NoGoldenExamples, RunRefused."""
    revision = rubrics.get_revision(session, project_id, rubric_id, number)
    examples = Rubric.model_validate(revision.content).golden_examples
    if not examples:
        raise NoGoldenExamples(
            f"revision {number} of rubric {rubric_id!r} has no golden examples: add `golden_examples` in another, "
            f"or try one pair by POST /v1/rubrics/{rubric_id}/revisions/{number}/trials"
        )
    prompts = [_prompt(example.name, example, golden=True) for example in examples]
    run = _start(session, project_id, revision, request, JudgeConfig(minimum_coverage=0.0), prompts)
    return get(session, project_id, run.id, settings=settings)


def get(session: Session, project_id: str, run_id: str, *, settings: Settings) -> Trial:
    """Raises NotFound."""
    found = runs.get(session, project_id, run_id)
    if found.run.kind is not RunKind.TRIAL or found.run.rubric_revision_id is None:
        raise NotFound.of("trial", run_id)
    revision = session.get_one(RubricRevision, found.run.rubric_revision_id)
    return Trial(found, revision, tuple(_pairs(session, found.run, revision, settings)))


def _require_principle(revision: RubricRevision, number: int | None) -> None:
    known = len(Rubric.model_validate(revision.content).principles)
    if number is not None and number > known:
        raise PrincipleUnknown(
            f"principle {number} does not exist: the revision has {known}, counted from 1; without it one is drawn",
            field="principle",
        )


def _start(
    session: WriteSession,
    project_id: str,
    revision: RubricRevision,
    request: TrialIn | GoldenTestIn,
    config: JudgeConfig,
    prompts: list[Prompt],
) -> Run:
    """The run. No coverage is demanded of it: an INVALID answer is what a trial is to show."""
    with within("judge"):
        judge = judges.get(session, project_id, request.judge)
    recipe = Recipe(
        seed=derive_seed(0, *(prompt.model_dump_json() for prompt in prompts)),  # other pairs draw other principles
        stop_after=StageKind.JUDGE,
        sample=SampleConfig(source="prompt_set"),
        judge=config,
        budget=request.budget,
    )
    return runs.create_measurement(
        session,
        project_id,
        kind=RunKind.TRIAL,
        name=f"{prompts[0].cohort} of {revision.rubric_id}/{revision.number}",
        recipe=recipe,
        rubric=revision,
        prompt_set=prompt_sets.create(
            session, project_id, name=new_id(Kind.PROMPT_SET), prompts=prompts, held_out=0.0, listed=False
        ),
        judge=judge,
    )


def _prompt(name: str, pair: JudgedPair, *, golden: bool) -> Prompt:
    return Prompt.model_validate(
        {
            "id": name,
            "messages": [message.as_dict() for message in pair.messages()],
            "tools": list(pair.tools) or None,
            "reference": pair.reference,
            "cohort": _COHORTS[golden],
            "split": Split.TRAIN.value,
            "candidates": [_candidate(pair.first), _candidate(pair.second)],
        }
    )


def _candidate(response: str | Sequence[Message]) -> object:
    return response if isinstance(response, str) else [turn.as_dict() for turn in response]


def _pairs(session: Session, run: Run, revision: RubricRevision, settings: Settings) -> Iterator[TriedPair]:
    prompts = prompts_in_range(session, run.prompt_set_id, split=Split.TRAIN, offset=0, limit=MOST_PAIRS)
    rows = comparisons_of(
        session, run.id, round_=0, purposes=(Purpose.TRAIN,), prompt_ids=[prompt.id for prompt in prompts]
    )
    compared = {row.prompt_id: row for row in rows}
    given = groupby(trials.verdicts(session, run.id), key=lambda verdict: verdict.comparison_id)
    verdicts = {id_: list(of_comparison) for id_, of_comparison in given}
    completions = completions_by_id(session, {id_ for row in rows for id_ in (row.first_id, row.second_id)})
    rubric = Rubric.model_validate(revision.content)
    examples = {example.name: example for example in rubric.golden_examples}
    key = delimiter_key(settings, seed=Recipe.model_validate(run.recipe).seed)
    for prompt in prompts:
        golden = examples[prompt.external_id] if prompt.cohort == _COHORTS[True] else None
        if (row := compared.get(prompt.id)) is None:
            yield TriedPair(golden, None, ())
            continue
        asked = _Asked(_case(prompt, rubric, key), row, completions)
        yield TriedPair(golden, row.principle, tuple(asked.answers(verdicts.get(row.id, ()))))


def _case(prompt: PromptRow, rubric: Rubric, key: bytes) -> Case:
    return Case(
        prompt=tuple(Message.model_validate(message) for message in prompt.messages),
        rubric=rubric.with_criteria(tuple(Criterion.model_validate(criterion) for criterion in prompt.criteria)),
        key=key,
        prompt_id=prompt.external_id,
        reference=prompt.reference,
        tools=prompt.tools,
    )


@dataclass(frozen=True, slots=True)
class _Asked:
    """The questions about one comparison, as they were put."""

    case: Case
    row: ComparisonRow
    completions: Mapping[str, CompletionRow]

    def answers(self, verdicts: Iterable[Verdict]) -> Iterator[TriedAnswer]:
        swapped = self.completions[self.row.first_id].position > self.completions[self.row.second_id].position
        for verdict in verdicts:
            yield TriedAnswer(verdict, swapped, self._messages(verdict))

    def _messages(self, verdict: Verdict) -> ChatMessages | None:
        if verdict.prompt_hash is None:
            return None
        first, second = (self._response(id_) for id_ in (self.row.first_id, self.row.second_id))
        question = PairQuestion(
            self.case, first, second, self.row.id, verdict.order, verdict.repeat, self.row.principle
        )
        messages = question.messages()
        return messages if prompt_hash(messages) == verdict.prompt_hash else None

    def _response(self, id_: str) -> Response:
        row = self.completions[id_]
        return Response((Message(role=Role.ASSISTANT, content=row.text),), row.position)
