"""Trials: a rubric revision and a judge tried on pairs given by hand, as a run that stops after judging.

One pair is a trial; all golden examples of a revision are its test.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.config import Settings
from app.db.ids import Kind, new_id
from app.db.models import RubricRevision, Run, RunKind, Split
from app.db.session import WriteSession
from app.errors import Conflict, InvalidInput, NotFound
from app.repositories.trials import Trial
from app.rlaif.golden import JudgedPair
from app.rlaif.messages import as_json
from app.rlaif.modes import Mode
from app.rlaif.prompt import Prompt
from app.rlaif.recipe import Recipe, StageKind
from app.rlaif.rubric import Rubric
from app.rlaif.sections import JudgeConfig, SampleConfig
from app.rlaif.seeds import derive_seed
from app.schemas.trial import GoldenTestIn, TrialIn
from app.services import judges, measurements, prompt_sets, rubrics, runs
from app.services.run_parts import within
from app.services.run_plan import RunRefused
from app.services.tried_pairs import Cohort, tried_pairs

PAIR = "pair"


class PairRefused(InvalidInput):
    """Raised when a pair cannot be a prompt with two candidates; the message says what is wrong with it."""


class NoGoldenExamples(Conflict):
    """Raised when a revision without golden examples is to be tested."""


def create(
    session: WriteSession, project_id: str, rubric_id: str, number: int, *, request: TrialIn, settings: Settings
) -> Trial:
    """A started trial of one pair. Raises NotFound, PairRefused, RunRefused."""
    revision = rubrics.get_revision(session, project_id, rubric_id, number)
    run = _start(
        session, project_id, revision, request, [_prompt(PAIR, request, golden=False)], principle=request.principle
    )
    return get(session, project_id, run.id, settings=settings)


def create_test(
    session: WriteSession, project_id: str, rubric_id: str, number: int, *, request: GoldenTestIn, settings: Settings
) -> Trial:
    """A started trial of all golden examples. Raises NotFound, NoGoldenExamples, PairRefused, RunRefused."""
    revision = rubrics.get_revision(session, project_id, rubric_id, number)
    examples = Rubric.model_validate(revision.content).golden_examples
    if not examples:
        raise NoGoldenExamples(
            f"revision {number} of rubric {rubric_id!r} has no golden examples: add `golden_examples` in another, "
            f"or try one pair by POST /v1/rubrics/{rubric_id}/revisions/{number}/trials"
        )
    prompts = [_prompt(example.name, example, golden=True) for example in examples]
    run = _start(session, project_id, revision, request, prompts)
    return get(session, project_id, run.id, settings=settings)


def get(session: Session, project_id: str, run_id: str, *, settings: Settings) -> Trial:
    """Raises NotFound."""
    found = runs.get(session, project_id, run_id)
    if found.run.kind is not RunKind.TRIAL or found.run.rubric_revision_id is None:
        raise NotFound.of("trial", run_id)
    revision = session.get_one(RubricRevision, found.run.rubric_revision_id)
    return Trial(found, revision, tuple(tried_pairs(session, found.run, settings=settings)))


@contextmanager
def _named_as_sent() -> Iterator[None]:
    """What is refused of the recipe is named as the trial's request has it."""
    try:
        yield
    except RunRefused as error:
        error.field = error.field and error.field.removeprefix("recipe.judge.")
        raise


def _start(
    session: WriteSession,
    project_id: str,
    revision: RubricRevision,
    request: TrialIn | GoldenTestIn,
    prompts: list[Prompt],
    *,
    principle: int | None = None,
) -> Run:
    """The run. No coverage is demanded of it: an INVALID answer is what a trial is to show."""
    with within("judge"):
        judge = judges.get(session, project_id, request.judge)
    recipe = Recipe(
        seed=derive_seed(0, *(prompt.model_dump_json() for prompt in prompts)),  # other pairs draw other principles
        stop_after=StageKind.JUDGE,
        sample=SampleConfig(source="prompt_set"),
        # Asked anew each time: a stored reply would show neither what the judge says now nor what a call costs.
        judge=JudgeConfig(mode=Mode(request.mode), principle=principle, minimum_coverage=0.0, cache=False),
        budget=request.budget,
    )
    with _named_as_sent():
        return measurements.create(
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
    """Raises PairRefused."""
    content = {
        "id": name,
        "messages": [message.as_dict() for message in pair.messages()],
        "tools": list(pair.tools) or None,
        "reference": pair.reference,
        "cohort": Cohort.GOLDEN.value if golden else Cohort.TRIAL.value,
        "split": Split.TRAIN.value,
        "candidates": [as_json(pair.first), as_json(pair.second)],
    }
    try:
        return Prompt.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        about = f"golden example {name!r}" if golden else "the pair"
        raise PairRefused(f"{about} cannot be judged: {place}: {first['msg']}") from error
