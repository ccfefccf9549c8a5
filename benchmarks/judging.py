"""Judges measured against people, from the service's own code: `make bench-judging`.

Reads public data that stands beside the project (`../shared/data`, or --data DIR); nothing is asked of any endpoint.
Nothing is chosen by looking at a test fold: panels are fitted, and their penalty chosen, on the other folds alone, and
every figure of a panel is a mean over REPEATS divisions into folds, whose seeds are 0, 1, 2, ...
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path

import numpy as np

from app.rlaif.agreement import (
    AnsweredTwice,
    Ratings,
    accuracy,
    cohens_kappa,
    krippendorff_alpha,
    majority,
    three_way_accuracy,
)
from app.rlaif.beliefs import lean
from app.rlaif.calibration import JudgedComparison, judge_metrics
from app.rlaif.comparison import Answer, InvalidReason, Verdict
from app.rlaif.cross_validation import out_of_fold, prompt_folds
from app.rlaif.logistic import Floats
from app.rlaif.panel import LabelledComparison, cross_validated, effective_votes, fit_panel, gain
from app.rlaif.preferences import aggregate
from app.rlaif.reliability import calibration_error, correctness, fit_isotonic, fit_temperature
from app.rlaif.sections import PreferConfig
from benchmarks import injection, trajectories
from benchmarks.figures import Figure, conclude, show
from benchmarks.human_labels import HumanLabelled, llmbar, pandalm, replayed

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
REPEATS = 1000
"""So that a mean over divisions is known to about 0.0001: one division differs from another by 0.004."""

CONFIG = PreferConfig()

# Right verdicts of 838, an unparseable one being wrong: the sums of correct_False and correct_True over the five files
# Dataset/LLMBar/{Natural,Adversarial/*}/evaluators/JUDGE/Vanilla/statistics.json of princeton-nlp/LLMBar.
PUBLISHED_RIGHT = {"GPT-4": 708, "PaLM2": 585, "ChatGPT": 335, "ChatGPT-0301": 403, "LLaMA2": 370, "Falcon": 473}
# Annotators 1 and 2, 1 and 3, 2 and 3: README of WeOpenML/PandaLM.
PUBLISHED_KAPPAS = (0.85, 0.88, 0.86)


@dataclass(frozen=True, slots=True)
class Judged:
    """One judge on all comparisons: its verdicts by comparison, and P(first is better) after both orders.

    A comparison that the judge has no belief about is one half.
    """

    verdicts: Mapping[str, tuple[Verdict, ...]]
    probabilities: Floats


@dataclass(frozen=True, slots=True)
class Stacked:
    """A panel out of fold, over the repeats: (repeats, n) correctness, and the mean calibration error."""

    repeats: Floats
    calibration_error: float

    @property
    def right(self) -> Floats:
        """(n,) correctness, the mean over the repeats."""
        return np.asarray(self.repeats.mean(axis=0))

    def __str__(self) -> str:
        each = self.repeats.mean(axis=1)
        error = each.std() / np.sqrt(len(each))
        spread = f"{each.min():.3f}..{each.max():.3f} by division"
        return f"{each.mean():.4f} +- {error:.4f} ({spread}), ECE {self.calibration_error:.3f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="the directory of llmbar.jsonl, pandalm.jsonl, ...")
    directory: Path = parser.parse_args().data
    if not (directory / "llmbar.jsonl").exists():
        print(f"skipped: there is no llmbar.jsonl in {directory}; name the data's directory with --data DIR")
        return 2
    stored = [*measure_llmbar(directory), *measure_pandalm(directory), *trajectories.measure(directory)]
    return conclude([*stored, *injection.measure()])


def measure_llmbar(directory: Path) -> list[Figure]:
    comparisons = llmbar(directory)
    outcomes = np.array([1.0 if each.people[0] is Answer.A else 0.0 for each in comparisons])
    judged = {judge: _judged(comparisons, judge) for judge in comparisons[0].judges}
    _show_judges(comparisons, judged, outcomes)
    everyone = [tuple(v for judge in judged.values() for v in judge.verdicts[each.id]) for each in comparisons]
    equal = correctness(np.array([_belief(verdicts) for verdicts in everyone]), outcomes)
    prompts = [each.prompt_id for each in comparisons]
    alone = {judge: correctness(each.probabilities, outcomes) for judge, each in judged.items()}
    best = max(alone, key=lambda judge: float(alone[judge].mean()))
    labelled = [LabelledComparison(*row) for row in zip(prompts, everyone, outcomes.tolist(), strict=True)]
    panel, without = _stacked(labelled, tuple(judged)), _stacked(labelled, tuple(j for j in judged if j != "GPT-4"))
    lead = gain(panel.right, alone[best], prompts, rng=np.random.default_rng(0))
    weights = fit_panel(labelled, judges=tuple(judged))
    votes = effective_votes(np.stack([each.probabilities for each in judged.values()], axis=1), outcomes)
    print(f"Panel weights: {', '.join(f'{j} {w:+.2f}' for j, w in zip(weights.judges, weights.weights, strict=True))}")
    print(f"Effective votes of {len(judged)}: {votes:.2f}. Best judge: {best} {alone[best].mean():.4f}")
    print(f"Panel {panel}, over the best {lead.value:+.4f} ({lead.low:+.4f}..{lead.high:+.4f} by prompts)")
    print(f"Panel without GPT-4 {without}\n")
    published = sum(_right_verdicts(comparisons, judged[judge]) == PUBLISHED_RIGHT[judge] for judge in judged)
    return [
        Figure("llmbar_judges_as_published", published, "=", len(PUBLISHED_RIGHT)),
        Figure("llmbar_best_single", float(alone[best].mean()), "=", 0.845, within=0.0005),
        Figure("llmbar_equal_weights", float(equal.mean()), "=", 0.603, within=0.002),
        Figure("llmbar_panel", float(panel.right.mean()), ">=", 0.87),
        Figure("llmbar_panel_gain_low", lead.low, ">=", 0.0),
        Figure("llmbar_panel_ece", panel.calibration_error, "<=", 0.05),
        Figure("llmbar_panel_without_gpt4", float(without.right.mean()), ">=", 0.75),
    ]


def measure_pandalm(directory: Path) -> list[Figure]:
    comparisons = pandalm(directory)
    rng = np.random.default_rng(0)
    alpha = krippendorff_alpha([Ratings(each.prompt_id, each.people) for each in comparisons], rng=rng)
    kappas = [
        cohens_kappa([AnsweredTwice(e.prompt_id, e.people[one], e.people[two]) for e in comparisons], rng=rng).value
        for one, two in combinations(range(3), 2)
    ]
    wanted = [majority(each.people) for each in comparisons]
    usual = max(wanted.count(answer) for answer in Answer) / len(wanted)
    rows, lows = [], []
    for judge in comparisons[0].judges:
        given = replayed(comparisons, judge)
        pairs = [
            AnsweredTwice(each.prompt_id, answer, verdict.answer)
            for each, answer in zip(comparisons, wanted, strict=True)
            if answer is not None
            for verdict in given[each.id]
        ]
        three, two, kappa = (measured(pairs, rng=rng) for measured in (three_way_accuracy, accuracy, cohens_kappa))
        valid = sum(pair.given is not Answer.INVALID for pair in pairs) / len(pairs)
        lows.append(three.low)
        cells = (f"{each.value:.3f} ({each.low:.3f}..{each.high:.3f})" for each in (three, two, kappa))
        rows.append((judge, f"{valid:.3f}", *cells))
    show(
        "PandaLM, 999 comparisons, against the majority of three people; one order",
        ("judge", "coverage", "three-way accuracy", "non-ties, a tie is half", "kappa"),
        rows,
    )
    print(f"People: alpha {alpha.value:.4f} ({alpha.low:.3f}..{alpha.high:.3f}), most frequent answer {usual:.3f}\n")
    return [
        Figure("pandalm_alpha", alpha.value, "=", 0.864, within=0.0005),
        *(
            Figure(f"pandalm_kappa_{one}", kappa, "=", published, within=0.005)
            for one, kappa, published in zip(("1_2", "1_3", "2_3"), kappas, PUBLISHED_KAPPAS, strict=True)
        ),
        Figure("pandalm_worst_judge_low_over_most_frequent", min(lows) - usual, ">=", 0.0),
    ]


def _judged(comparisons: Sequence[HumanLabelled], judge: str) -> Judged:
    verdicts = replayed(comparisons, judge)
    return Judged(verdicts, np.array([_belief(verdicts[each.id]) for each in comparisons]))


def _belief(verdicts: Sequence[Verdict]) -> float:
    probability = aggregate(verdicts, CONFIG).probability
    return 0.5 if probability is None else probability


def _stacked(labelled: Sequence[LabelledComparison], judges: Sequence[str]) -> Stacked:
    outcomes = np.array([each.outcome for each in labelled])
    with ProcessPoolExecutor() as pool:
        repeats = list(pool.map(partial(_divided, labelled, judges), range(REPEATS), chunksize=REPEATS // 20))
    right = np.stack([correctness(each, outcomes) for each in repeats])
    return Stacked(right, float(np.mean([calibration_error(each, outcomes) for each in repeats])))


def _divided(labelled: Sequence[LabelledComparison], judges: Sequence[str], seed: int) -> Floats:
    """The panel's probabilities out of one division into folds."""
    return cross_validated(labelled, judges=judges, rng=np.random.default_rng(seed))


def _right_verdicts(comparisons: Sequence[HumanLabelled], judged: Judged) -> int:
    return sum(verdict.answer is each.people[0] for each in comparisons for verdict in judged.verdicts[each.id])


def _show_judges(comparisons: Sequence[HumanLabelled], judged: Mapping[str, Judged], outcomes: Floats) -> None:
    longer = np.sign(np.array([len(each.first) - len(each.second) for each in comparisons]))
    show(
        f"LLMBar, {len(comparisons)} comparisons, both orders; prefer-longer {_mean_right(longer, outcomes):.3f}",
        ("judge", "right/838", "coverage", "accuracy", "kappa", "consistent", "first", "ECE", "temp.", "isotonic"),
        [_row(judge, each, comparisons, outcomes) for judge, each in judged.items()],
    )


def _row(judge: str, judged: Judged, comparisons: Sequence[HumanLabelled], outcomes: Floats) -> tuple[str, ...]:
    rng = np.random.default_rng(0)
    pairs = [
        AnsweredTwice(each.prompt_id, each.people[0], lean(probability))
        for each, probability in zip(comparisons, judged.probabilities.tolist(), strict=True)
    ]
    right, kappa = accuracy(pairs, rng=rng), cohens_kappa(pairs, rng=rng)
    metrics = judge_metrics([_as_judged(judged.verdicts[each.id], each) for each in comparisons])
    calibrated = _calibrated(judged.probabilities, outcomes, [each.prompt_id for each in comparisons])
    return (
        judge,
        f"{_right_verdicts(comparisons, judged)}",
        f"{metrics.coverage:.3f}",
        f"{right.value:.3f} ({right.low:.3f}..{right.high:.3f})",
        f"{kappa.value:+.2f}",
        f"{metrics.position_consistency:.3f}",
        f"{metrics.first_position_preference:+.2f}",
        *(f"{error:.3f}" for error in calibrated),
    )


def _as_judged(verdicts: tuple[Verdict, ...], comparison: HumanLabelled) -> JudgedComparison:
    """Lengths are in characters here: they enter the table's baseline alone."""
    missing = tuple(InvalidReason.PARSE for verdict in verdicts if verdict.answer is Answer.INVALID)
    return JudgedComparison(verdicts, missing, len(comparison.first), len(comparison.second))


def _calibrated(probabilities: Floats, outcomes: Floats, prompts: Sequence[str]) -> tuple[float, float, float]:
    """The calibration error as stated, and out of fold after temperature and isotonic calibration."""
    folds = prompt_folds(prompts, 10, rng=np.random.default_rng(0))
    fitted = (
        out_of_fold(lambda p, y, fit=fit: fit(p, y).apply, probabilities, outcomes, folds=folds)  # type: ignore[misc]
        for fit in (fit_temperature, fit_isotonic)
    )
    stated, temperature, isotonic = (calibration_error(each, outcomes) for each in (probabilities, *fitted))
    return stated, temperature, isotonic


def _mean_right(signs: Floats, outcomes: Floats) -> float:
    return float(correctness(0.5 + signs / 4, outcomes).mean())


if __name__ == "__main__":
    raise SystemExit(main())
