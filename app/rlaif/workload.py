"""How many questions a run puts to its judges: follows from the recipe and from what each prompt brings. Pure.

It counts as the stages do. Completions that are yet to be sampled are taken to be all different, which is the most
there can be; of candidates at hand equal texts are known and left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import comb

from app.rlaif.comparison import Order
from app.rlaif.listwise import LARGEST_GROUP
from app.rlaif.modes import Mode
from app.rlaif.online_policy import OnlinePolicyConfig
from app.rlaif.recipe import Recipe
from app.rlaif.sections import JudgeConfig
from app.rlaif.sweep import evaluated

PRESENTATIONS = len(Order)


@dataclass(frozen=True, slots=True)
class PromptFacts:
    """What a prompt brings. Lengths are in characters; `candidates` are the numbers of their texts, equal ones alike.

    `labelled` are the places of candidates that carry a label; `criteria` are those that it is judged by.
    """

    held_out: bool
    length: int
    criteria: int
    candidates: tuple[int, ...] = ()
    candidate_length: float = 0.0
    labelled: frozenset[tuple[int, int]] = frozenset()


@dataclass(frozen=True, slots=True)
class Asked:
    """Questions, the answers that are stored for them, and the characters that they hold.

    `prompt_characters` are those of all prompts asked about, `response_characters` those of all responses shown.
    """

    questions: int = 0
    answers: int = 0
    prompt_characters: int = 0
    response_characters: float = 0.0

    def __add__(self, other: Asked) -> Asked:
        return Asked(
            self.questions + other.questions,
            self.answers + other.answers,
            self.prompt_characters + other.prompt_characters,
            self.response_characters + other.response_characters,
        )


def asked_as_reward(prompts: Iterable[PromptFacts], policy: OnlinePolicyConfig, *, answer_length: float) -> Asked:
    """What a judge that rewards a policy's own answers is asked; at most so much, since equal answers are asked once.

    Every prompt is answered once an epoch. Which of an epoch's steps is the short one is not known here, so of an epoch
    that is cut every step counts in full.
    """
    lengths = [prompt.length for prompt in prompts if not prompt.held_out]
    if not lengths:
        return Asked()
    epochs, steps = divmod(policy.steps, -(-len(lengths) // policy.prompts_per_step))
    drawn = epochs * len(lengths) + min(steps * policy.prompts_per_step, len(lengths))
    questions = drawn * policy.completions * PRESENTATIONS
    shown = round(questions * sum(lengths) / len(lengths))
    return Asked(questions, 0, shown, questions * answer_length)  # ratings of rollouts are not stored


def asked_in_looks(prompts: Iterable[PromptFacts], policy: OnlinePolicyConfig, *, answer_length: float) -> Asked:
    """What the evaluation judge is asked while a policy learns, where it looks every `policy.health.judge_every` steps.

    It looks before the first step, then as often as that, and after the last step.
    """
    lengths = [prompt.length for prompt in prompts if prompt.held_out]
    every = policy.health.judge_every
    if not (lengths and every):
        return Asked()
    questions = (1 + -(-policy.steps // every)) * min(len(lengths), policy.health.judge_prompts) * PRESENTATIONS
    shown = round(questions * sum(lengths) / len(lengths))
    return Asked(questions, 0, shown, questions * answer_length)


def asked_in_training(prompts: Iterable[PromptFacts], recipe: Recipe, *, sampled_length: float) -> Asked:
    """What the judge stage asks each judge; a cascade's later judges are asked at most so much.

    `sampled_length` is that of a completion that is yet to be sampled, in characters.
    """
    total = Asked()
    for prompt in prompts:
        total += _of_prompt(prompt, recipe, sampled_length)
    return total


def asked_in_evaluation(prompts: Iterable[PromptFacts], recipe: Recipe, *, sampled_length: float) -> Asked:
    """What the evaluation asks: each policy against base at each position, and two of the base's own as a control."""
    control = 1 if recipe.sample.held_out_completions >= 2 else 0
    pairs = recipe.evaluate.completions * len(evaluated(recipe)) + control
    total = Asked()
    for prompt in prompts:
        if prompt.held_out:
            total += _asked(prompt, sampled_length, pairs * PRESENTATIONS, shown=2)
    return total


def asked_by_evaluator(prompts: Iterable[PromptFacts], recipe: Recipe, *, sampled_length: float) -> Asked:
    """What one evaluator asks: every policy's answers and the base answers that they meet, each by itself."""
    answers = recipe.evaluate.completions * (len(evaluated(recipe)) + 1)
    total = Asked()
    for prompt in prompts:
        if prompt.held_out:
            total += _asked(prompt, sampled_length, answers * PRESENTATIONS, shown=1)
    return total


def sampled(prompts: Iterable[PromptFacts], recipe: Recipe, *, evaluates: bool) -> int:
    """Completions that the sample stage draws; imported ones need none, but evaluation needs a baseline."""
    own = recipe.sample.source == "model"
    held_out = recipe.sample.held_out_completions if own or evaluates else 0
    return sum(held_out if prompt.held_out else recipe.sample.completions * own for prompt in prompts)


def _of_prompt(prompt: PromptFacts, recipe: Recipe, sampled_length: float) -> Asked:
    config, length = recipe.judge, prompt.candidate_length
    texts: Sequence[int] = prompt.candidates
    if recipe.sample.source == "model":
        count = recipe.sample.held_out_completions if prompt.held_out else recipe.sample.completions
        texts, length = tuple(range(count)), sampled_length
    if config.mode is Mode.LISTWISE:
        return _lists(prompt, len(set(texts)), config, length)
    pairs, shown = _pairs(texts, prompt, config)
    if config.mode is Mode.POINTWISE:
        return _asked(prompt, length, shown * PRESENTATIONS * config.repeats, shown=1)
    criteria = prompt.criteria if config.mode is Mode.PER_CRITERION else 1
    return _asked(prompt, length, pairs * PRESENTATIONS * config.repeats * criteria, shown=2)


def _pairs(texts: Sequence[int], prompt: PromptFacts, config: JudgeConfig) -> tuple[int, int]:
    """Pairs of different texts, and how many completions are in them."""
    if config.pairs == "labelled":
        unordered = {(min(pair), max(pair)) for pair in prompt.labelled}
        found = [pair for pair in unordered if texts[pair[0]] != texts[pair[1]]]
        return len(found), len({place for pair in found for place in pair})
    distinct = len(set(texts))
    pairs = comb(distinct, 2) if config.pairs == "all" or distinct < 3 else distinct
    return pairs, distinct if pairs else 0


def _lists(prompt: PromptFacts, distinct: int, config: JudgeConfig, length: float) -> Asked:
    count = -(-distinct // LARGEST_GROUP)
    sizes = [len(range(start, distinct, count)) for start in range(count)]
    total = Asked()
    for size in sizes:
        if size >= 2:
            questions = PRESENTATIONS * config.repeats
            total += _asked(prompt, length, questions, shown=size, answers=questions * comb(size, 2))
    return total


def _asked(prompt: PromptFacts, length: float, questions: int, *, shown: int, answers: int | None = None) -> Asked:
    return Asked(
        questions=questions,
        answers=questions if answers is None else answers,
        prompt_characters=questions * prompt.length,
        response_characters=questions * shown * length,
    )
