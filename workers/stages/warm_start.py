"""Teaches the base model by examples before the first round: the prompts' own, or its own answers once revised."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from app.db.models import CheckpointKind, Split
from app.repositories.prompts import PromptRow
from app.repositories.revisions import RevisionRow, revisions_of
from app.rlaif.critique import Ending, outcome
from app.rlaif.evidence import RevisionExample, WarmStartMetrics
from app.rlaif.pipeline import PhaseName
from app.rlaif.warm_start import ConstitutionalConfig, DemonstrationsConfig, SupervisedConfig, demonstration
from workers.stages.contract import StageContext, StageOutcome, StageRefused
from workers.stages.inputs import StageInputs, all_prompts
from workers.stages.publish import Trained, publish, published
from workers.stages.revisions import revise_shard
from workers.stages.training import OUTPUT, in_processes, optimisation, trained
from workers.stages.weights import model_directory
from workers.training.contracts import Demonstration

SHOWN = 5
"""Revised answers that the report shows."""

WRITTEN = (Ending.STOP, Ending.LENGTH)

NO_DEMONSTRATION = "no_demonstration"
"""Why a prompt gave no example: it brings none."""

OVERLONG = "overlong_prompt"
"""Why a prompt gave no example: it fills max_length, or the model's window."""

_OWN = ConstitutionalConfig.model_fields.keys() | DemonstrationsConfig.model_fields.keys()
_NOT_OPTIMISATION = _OWN - SupervisedConfig.model_fields.keys()

Taught = ConstitutionalConfig | DemonstrationsConfig


def run(context: StageContext) -> StageOutcome:
    """Raises GiveBack, StageRefused."""
    inputs, config = StageInputs.load(context), context.work.recipe.warm_start
    if context.work.phase is PhaseName.REVISE and isinstance(config, ConstitutionalConfig):
        return revise_shard(context, inputs, config)
    checkpoint = published(context, CheckpointKind.WARM_START)
    if checkpoint is None:
        checkpoint = publish(context, inputs, train(context, inputs))
    return StageOutcome(checkpoint.step, checkpoint.metrics)


@dataclass(slots=True)
class Examples:
    """The examples of one split, and what became of its prompts."""

    kept: list[Demonstration] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    shown: list[RevisionExample] = field(default_factory=list)
    prompts: int = 0

    def add(self, prompt: PromptRow, text: str, *, finished: bool = True) -> None:
        self.kept.append(Demonstration(prompt.external_id, prompt.messages, text, prompt.tools, finished))


def train(context: StageContext, inputs: StageInputs) -> Trained:
    """Train, or go on from the state that an earlier holder saved. Raises GiveBack, StageRefused."""
    from workers.training.sft import SFTConfig, SFTData, train_sft  # torch

    recipe = context.work.recipe.warm_start
    if recipe is None:
        raise StageRefused("no_warm_start", "the recipe has no warm_start: create the run again with one")
    learned, held_out = (_examples(context, inputs, recipe, split) for split in (Split.TRAIN, Split.HELD_OUT))
    config = SFTConfig(
        model_dir=model_directory(context, inputs.base_model().storage_key),
        **optimisation(context, recipe, leaving_out=_NOT_OPTIMISATION),
    )
    data, directory = SFTData(learned.kept, held_out.kept), context.scratch() / OUTPUT
    call = in_processes(context, train_sft)
    result = trained(lambda: call(config, data, directory, context.progress), directory)
    if result.overlong_prompts:
        learned.left_out[OVERLONG] = result.overlong_prompts
    metrics = WarmStartMetrics(
        method=recipe.method.value,
        prompts=learned.prompts,
        examples=result.examples,
        cut_examples=result.cut_examples,
        left_out=dict(learned.left_out),
        outcomes=dict(learned.outcomes),
        before=result.before,
        after=result.after,
        shown=learned.shown,
        resumed_from=result.resumed_from,
        rejected_states=list(result.rejected_states),
    )
    return Trained(
        CheckpointKind.WARM_START,
        directory,
        result.steps,
        {**result.metrics, **metrics.model_dump(mode="json")},
        pairs=(),
        demonstrations=learned.kept,
    )


def _examples(context: StageContext, inputs: StageInputs, recipe: Taught, split: Split) -> Examples:
    """Every example of a split, in the order of the set."""
    found = Examples()
    for prompts in all_prompts(context, inputs.run.prompt_set_id, split=split):
        found.prompts += len(prompts)
        if isinstance(recipe, DemonstrationsConfig):
            _add_demonstrations(found, prompts, recipe)
        else:
            _add_revised(found, prompts, recipe, _steps(context, prompts))
    return found


def _add_demonstrations(found: Examples, prompts: Sequence[PromptRow], recipe: DemonstrationsConfig) -> None:
    for prompt in prompts:
        text = demonstration(
            recipe.demonstrations,
            reference=prompt.reference,
            candidates=prompt.candidates,
            preferences=prompt.preferences,
        )
        if text is None:
            found.left_out[NO_DEMONSTRATION] += 1
        else:
            found.add(prompt, text)


def _steps(context: StageContext, prompts: Sequence[PromptRow]) -> dict[str, list[RevisionRow]]:
    with context.read() as session:
        return revisions_of(session, context.work.run_id, prompt_ids=[prompt.id for prompt in prompts])


def _add_revised(
    found: Examples,
    prompts: Sequence[PromptRow],
    recipe: ConstitutionalConfig,
    steps: Mapping[str, Sequence[RevisionRow]],
) -> None:
    for prompt in prompts:
        rows = steps.get(prompt.id, ())
        written = [(row, row.text) for row in rows if row.text is not None and row.finish_reason in WRITTEN]
        ended = outcome([text for _, text in written], rows[-1].finish_reason if rows else None)
        found.outcomes[ended.value] += 1
        if ended in recipe.left_out():
            found.left_out[ended.value] += 1
            continue
        last, text = written[-1]
        found.add(prompt, text, finished=last.finish_reason is Ending.STOP)
        if len(found.shown) < SHOWN:
            found.shown.append(_shown(prompt, last, before=written[0][1], after=text))


def _shown(prompt: PromptRow, last: RevisionRow, *, before: str, after: str) -> RevisionExample:
    return RevisionExample(
        prompt_id=prompt.external_id,
        prompt=prompt.messages,
        principle=last.principle or "",
        critique=last.critique or "",
        before=before,
        after=after,
    )
