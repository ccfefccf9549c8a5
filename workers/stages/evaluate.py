"""Measures the policy against the base model on held-out prompts: sample, score, judge, measure.

The candidates of a sweep answer the same prompts with the same seeds and meet the same base completions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from app.db.models import CheckpointKind, Comparison, CompletionSource, Purpose, Split
from app.repositories.checkpoints import CheckpointRow, latest_checkpoint
from app.repositories.completions import CompletionRow, completions_of, set_rewards
from app.repositories.prompts import PromptRow
from app.repositories.run_inputs import JudgeRow
from app.repositories.units import add_missing
from app.rlaif.beliefs import mean
from app.rlaif.best_of_n import best_of_n
from app.rlaif.evidence import RewardDifference
from app.rlaif.measure import MeasureConfig
from app.rlaif.pipeline import PhaseName
from app.rlaif.recipe import StageKind
from app.rlaif.scoring import Reward
from app.rlaif.sweep import evaluated
from workers.stages.capability import task_results
from workers.stages.compare import Block, Compared, compared, comparison_unit
from workers.stages.conclusion import conclude
from workers.stages.contract import ShardWork, StageContext, StageOutcome, StageRefused
from workers.stages.divergence import Match, divergence
from workers.stages.docket import Docket
from workers.stages.inputs import StageInputs, all_prompts, shard_prompts, stop_if_asked
from workers.stages.pairing import Pairing
from workers.stages.panel import instrument_of, put
from workers.stages.rate import rate
from workers.stages.sample import sample_shard, sample_subject
from workers.stages.subjects import comparable, subject
from workers.stages.training import ends_explained
from workers.stages.weights import model_directory
from workers.training.contracts import Conversation


def run(context: StageContext) -> StageOutcome:
    """Raises GiveBack, BudgetReached, StageRefused."""
    inputs = StageInputs.load(context)
    match context.work.phase:
        case PhaseName.SAMPLE:
            return sample_policy(context, inputs)
        case PhaseName.SCORE:
            return score_completions(context, inputs)
        case PhaseName.JUDGE:
            return judge_shard(context, inputs)
        case _:
            return conclude(context, inputs, policies(context, inputs))


def policies(context: StageContext, inputs: StageInputs) -> dict[int, CheckpointRow]:
    """What there is to evaluate, by candidate; without a sweep it is candidate 0. Raises StageRefused without any."""
    if (measure := context.work.recipe.measure) is not None:
        return {0: _measured(context, measure)}
    numbers = evaluated(context.work.recipe)
    found = {number: _policy(context, inputs, number) for number in numbers}
    trained = {number: row for number, row in found.items() if row is not None}
    if not trained:
        raise StageRefused("no_policy", f"run {context.work.run_id} has no policy checkpoint to evaluate: train one")
    return trained


def _measured(context: StageContext, measure: MeasureConfig) -> CheckpointRow:
    """What an evaluation without training measures, in the place of a policy that was trained."""
    found = subject(context, measure.measured)
    weights = ("", "") if isinstance(found, JudgeRow) else (found.storage_key, found.digest)
    return CheckpointRow(measure.measured, "", 0, *weights, metrics={})


def _require_answers(context: StageContext, prompts: int, matches: int) -> None:
    """Raises StageRefused where too little was answered to say anything of the rest."""
    config = context.work.recipe.evaluate
    share = matches / max(prompts * config.completions, 1)
    if share < config.minimum_coverage:
        raise StageRefused(
            "unanswered",
            f"{share:.3f} of the held-out prompts were answered by both, below recipe.evaluate.minimum_coverage "
            f"{config.minimum_coverage:g}: look at the endpoint's errors, or at prompts that are too long",
        )


def sample_policy(context: StageContext, inputs: StageInputs) -> StageOutcome:
    """The policy's completions of one range of held-out prompts; none of a candidate whose training failed."""
    work = context.work
    if (measure := work.recipe.measure) is not None:
        count = work.recipe.evaluate.completions
        return sample_subject(context, inputs, measure.measured, CompletionSource.POLICY, count)
    if (checkpoint := policies(context, inputs).get(work.candidate)) is None:
        return StageOutcome(work.payload["limit"])
    done = sample_shard(
        context,
        inputs,
        storage_key=checkpoint.storage_key,
        source=CompletionSource.POLICY,
        count=work.recipe.evaluate.completions,
    )
    return done if _is_first(work) else StageOutcome(done.units)  # prompts that are too long are counted once


def judge_shard(context: StageContext, inputs: StageInputs) -> StageOutcome:
    """Compare policy with base on some held-out prompts, base with base as a control, and ask where they differ."""
    judge = inputs.evaluation_judge()
    with context.read() as session:
        instrument = instrument_of(session, judge, calibration=None)
    put(context, Docket(judge, inputs.rubric(), partial(_blocks, context, inputs)), instrument)
    rate(context, inputs, partial(_matches, context, inputs))
    return StageOutcome(context.work.payload["limit"])


def _matches(context: StageContext, inputs: StageInputs) -> Iterator[list[Match]]:
    """What evaluators rate: each policy completion of the shard's prompts, and the base completion that it meets."""
    for prompts in shard_prompts(context, inputs.run.prompt_set_id):
        yield [match for one in _answered(context, inputs, prompts) for match in one.matches()]


def score_completions(context: StageContext, inputs: StageInputs) -> StageOutcome:
    """How far the policy has gone from the base model, and the reward model's opinion of both models' completions."""
    answered = [
        one
        for prompts in all_prompts(context, inputs.run.prompt_set_id, split=Split.HELD_OUT)
        for one in _answered(context, inputs, prompts)
    ]
    matches = [match for one in answered for match in one.matches()]
    checkpoint = policies(context, inputs).get(context.work.candidate)
    if (measure := context.work.recipe.measure) is not None:
        _require_answers(context, len(answered), len(matches))
    if checkpoint is None or not matches:
        return StageOutcome(0)
    tasks = task_results(context, inputs, checkpoint)
    metrics: dict[str, Any] = {"tasks": {name: found.model_dump(mode="json") for name, found in tasks.items()}}
    if measure is None or comparable(context, measure):
        gone = divergence(context, inputs, checkpoint, matches)
        stop_if_asked(context)
        metrics |= {"divergence": gone.model_dump(mode="json"), **_scored(context, inputs, answered)}
    return StageOutcome(len(matches), metrics)


def _scored(context: StageContext, inputs: StageInputs, answered: Sequence[Answered]) -> dict[str, Any]:
    """By the reward model of this round; nothing where it has none."""
    if (checkpoint := _checkpoint(context, inputs.behind[StageKind.REWARD_MODEL], CheckpointKind.REWARD_MODEL)) is None:
        return {}
    matches = [match for one in answered for match in one.matches()]
    rewards = _rewards(context, checkpoint, answered)
    with context.transaction() as session:
        set_rewards(session, {id_: rewards[id_] for id_ in _own(context, inputs, answered) if id_ in rewards})
    ends = [(match.policy.id, match.base.id) for match in matches]
    known = {id_: reward.value for id_, reward in rewards.items()}
    scored = [(known[policy], known[base]) for policy, base in ends if policy in known and base in known]
    metrics: dict[str, Any] = {"pairs_beyond_window": len(matches) - len(scored)}
    if scored:
        metrics["reward"] = _difference(scored).model_dump(mode="json")
    drawn = [[known[row.id] for row in one.base if row.id in known] for one in answered]
    metrics["best_of_n"] = [figure.model_dump(mode="json") for figure in best_of_n(drawn)]
    return metrics


@dataclass(frozen=True, slots=True)
class Answered:
    """A held-out prompt and both models' completions of it, in the order of their positions."""

    prompt: PromptRow
    policy: Sequence[CompletionRow]
    base: Sequence[CompletionRow]

    def matches(self) -> list[Match]:
        return [Match(self.prompt, own, met) for own, met in zip(self.policy, self.base, strict=False)]


def _answered(context: StageContext, inputs: StageInputs, prompts: Sequence[PromptRow]) -> list[Answered]:
    """The base completions are the first round's, in every round: rounds are comparable, prompt by prompt."""
    work = context.work
    base = _completions(context, inputs.first[StageKind.SAMPLE], CompletionSource.BASE, prompts, round_=0)
    policy = _completions(
        context, work.run_id, CompletionSource.POLICY, prompts, round_=work.round, candidate=work.candidate
    )
    return [Answered(prompt, policy.get(prompt.id, ()), base.get(prompt.id, ())) for prompt in prompts]


def _completions(
    context: StageContext,
    run_id: str,
    source: CompletionSource,
    prompts: Sequence[PromptRow],
    *,
    round_: int,
    candidate: int = 0,
) -> dict[str, list[CompletionRow]]:
    """Held-out completions by prompt id, in the order of their positions."""
    with context.read() as session:
        rows = completions_of(
            session,
            run_id,
            round_=round_,
            split=Split.HELD_OUT,
            sources=(source,),
            prompt_ids=[prompt.id for prompt in prompts],
            candidate=candidate,
        )
    found: dict[str, list[CompletionRow]] = {}
    for row in rows:
        found.setdefault(row.prompt_id, []).append(row)
    return found


def _blocks(context: StageContext, inputs: StageInputs) -> Iterator[Block]:
    for prompts in shard_prompts(context, inputs.run.prompt_set_id):
        yield Block.of(prompts, _compare(context, inputs, prompts))


def _compare(context: StageContext, inputs: StageInputs, prompts: Sequence[PromptRow]) -> list[Compared]:
    """Make the comparisons that are missing and read all that are this shard's."""
    work = context.work
    rows = list(_units(context, inputs, prompts))
    with context.transaction() as session:
        add_missing(session, Comparison, rows)
    with context.read() as session:
        found = compared(session, work.run_id, round_=work.round, purposes=(Purpose.EVALUATION,), prompts=prompts)
    return [item for item in found if _is_own(work, item)]


def _is_own(work: ShardWork, item: Compared) -> bool:
    """Whether the candidate is in it; what the base model makes of itself is asked once, with the first candidate."""
    policies = [row.candidate for row in (item.first, item.second) if row.source is CompletionSource.POLICY]
    return work.candidate in policies if policies else _is_first(work)


def _is_first(work: ShardWork) -> bool:
    return work.candidate == evaluated(work.recipe)[0]


def _units(context: StageContext, inputs: StageInputs, prompts: Sequence[PromptRow]) -> Iterator[dict[str, Any]]:
    """Policy against base at each position, and two of the base model's own completions; drawn alike in every round."""
    work = context.work
    answered = _answered(context, inputs, prompts)
    principles = inputs.rubric().principles
    sides = [(match.prompt, match.policy, match.base) for one in answered for match in one.matches()]
    if _is_first(work):
        sides += [(one.prompt, *control) for one in answered if (control := _two_distinct(one.base))]
    for prompt, one, other in sides:
        pairing = Pairing(work.recipe.seed, (0, prompt.external_id))
        pair = pairing.oriented(one, other)
        principle = pairing.principle(principles, pair)
        yield comparison_unit(work, pair, purpose=Purpose.EVALUATION, principle=principle)


def _two_distinct(completions: Sequence[CompletionRow]) -> tuple[CompletionRow, CompletionRow] | None:
    """The first two completions that differ: the training judge compared the same two."""
    first = completions[0] if completions else None
    other = next((row for row in completions if first is not None and row.text != first.text), None)
    return None if first is None or other is None else (first, other)


def _rewards(context: StageContext, checkpoint: CheckpointRow, answered: Sequence[Answered]) -> dict[str, Reward]:
    """By completion id; one that exceeds the reward model's window with its prompt has none. Raises GiveBack."""
    from workers.training.scoring import Scorer  # torch

    answers = {
        row.id: Conversation(one.prompt.messages, row.text, one.prompt.tools)
        for one in answered
        for row in (*one.policy, *one.base)
    }
    directory = model_directory(context, checkpoint.storage_key)
    scorer = Scorer(directory, batch_size=context.work.recipe.reward_model.batch_size)
    with ends_explained():
        found = scorer(list(answers.values()), context.progress)
    return {id_: Reward.of(values) for id_, values in zip(answers, found, strict=True) if values is not None}


def _own(context: StageContext, inputs: StageInputs, answered: Sequence[Answered]) -> list[str]:
    """The completions of this run: another run's rows are read and never written."""
    own = [row.id for one in answered for row in one.policy]
    if inputs.first[StageKind.SAMPLE] == context.work.run_id and _is_first(context.work):
        own += [row.id for one in answered for row in one.base]
    return own


def _difference(pairs: Sequence[tuple[float, float]]) -> RewardDifference:
    policy, base = mean(pair[0] for pair in pairs), mean(pair[1] for pair in pairs)
    wins = mean(1.0 if ours > theirs else 0.5 if ours == theirs else 0.0 for ours, theirs in pairs)
    return RewardDifference(policy_mean=policy, base_mean=base, difference=policy - base, win_rate=wins)


def _policy(context: StageContext, inputs: StageInputs, candidate: int) -> CheckpointRow | None:
    return _checkpoint(context, inputs.behind[StageKind.POLICY], CheckpointKind.POLICY, candidate=candidate)


def _checkpoint(
    context: StageContext, run_id: str, kind: CheckpointKind, *, candidate: int = 0
) -> CheckpointRow | None:
    with context.read() as session:
        return latest_checkpoint(session, run_id, round_=context.work.round, kind=kind, candidate=candidate)
