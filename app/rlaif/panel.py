"""Several judges as one instrument: each counts by what its answers proved to be worth on human labels.

Equal weights are dangerous: six judges that score 0.60 together hold one that scores 0.84 alone (LLMBar). The only
features are the judges' own answers: nothing of the completions, such as their length, may enter.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from app.rlaif.beliefs import order_means
from app.rlaif.comparison import Order, Verdict
from app.rlaif.cross_validation import Predict, out_of_fold, prompt_folds
from app.rlaif.logistic import Floats, fit_logistic, log_evidence, logit, sigmoid
from app.rlaif.reliability import correctness
from app.rlaif.statistics import ClusteredMean, clustered_mean

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
FOLDS = 10
_CLIP = 0.01  # a vote, having no probability of its own, counts as 0.99
_CERTAIN = float(logit(1.0, clip=_CLIP))


@dataclass(frozen=True, slots=True)
class LabelledComparison:
    """All judges' verdicts on one comparison, and what people say: 1 first is better, 0 second, 0.5 a tie."""

    prompt_id: str
    verdicts: tuple[Verdict, ...]
    outcome: float


@dataclass(frozen=True, slots=True)
class Panel:
    """A weight for each judge; a negative one says that the judge errs more often than not where the others waver."""

    judges: tuple[str, ...]
    weights: tuple[float, ...]
    penalty: float

    def probability(self, verdicts: Iterable[Verdict]) -> float | None:
        """Calibrated P(first is better); None when no judge of the panel answered in both orders."""
        seen = _answered(verdicts)
        if not seen.keys() & set(self.judges):
            return None
        return float(sigmoid(np.array([seen.get(judge, 0.0) for judge in self.judges]) @ np.array(self.weights)))


def fit_panel(labelled: Sequence[LabelledComparison], *, judges: Sequence[str]) -> Panel:
    """Weights by logistic regression on the judges' mean logits over both orders, without an intercept.

    The penalty is the one of PENALTIES with the most evidence.
    """
    features, outcomes = _matrix(labelled, judges)
    weights, penalty = _fit(features, outcomes)
    return Panel(tuple(judges), tuple(weights.tolist()), penalty)


def cross_validated(
    labelled: Sequence[LabelledComparison], *, judges: Sequence[str], rng: np.random.Generator
) -> Floats:
    """(n,) P(first is better) by panels whose weights and penalty know nothing of the comparison's prompt.

    Raises TooFewPrompts.
    """
    features, outcomes = _matrix(labelled, judges)

    def fit(seen: Floats, said: Floats) -> Predict:
        weights, _ = _fit(seen, said)
        return lambda unseen: sigmoid(unseen @ weights)

    return out_of_fold(
        fit, features, outcomes, folds=prompt_folds([each.prompt_id for each in labelled], FOLDS, rng=rng)
    )


def effective_votes(probabilities: Floats, outcomes: Floats) -> float:
    """k / (1 + (k - 1) rho): how many independent judges the k columns of (n, k) probabilities are worth.

    `rho` is the mean correlation of the judges' errors, and at least 0: errors that cancel are luck, not more votes.
    A judge that always or never errs correlates with none and is left out of the mean.
    """
    errors = 1 - correctness(probabilities, outcomes[:, None])
    varied = [column for column in errors.T if column.std() > 0]
    pairs = [float(np.corrcoef(one, other)[0, 1]) for one, other in combinations(varied, 2)]
    rho = max(float(np.mean(pairs)), 0.0) if pairs else 0.0
    judges = len(errors.T)
    return judges / (1 + (judges - 1) * rho)


def gain(
    right: Floats, alone: Floats, prompt_ids: Sequence[str], *, rng: np.random.Generator, samples: int = 2000
) -> ClusteredMean:
    """The mean of right - alone over comparisons, both (n,) correctness, by a paired bootstrap over prompts."""
    differences: dict[str, list[float]] = defaultdict(list)
    for prompt_id, difference in zip(prompt_ids, (right - alone).tolist(), strict=True):
        differences[prompt_id].append(difference)
    return clustered_mean(differences, rng=rng, samples=samples)


def _answered(verdicts: Iterable[Verdict]) -> dict[str, float]:
    """Each judge's mean logit over both orders, scaled to [-1, 1]; a judge without both orders has none.

    Answers that contradict each other cancel: an inconsistent judge says nothing.
    """
    by_judge: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        by_judge[verdict.judge_id].append(verdict)
    means = {judge: order_means(given) for judge, given in by_judge.items()}
    return {
        judge: float(np.mean(logit([orders[order] for order in Order], clip=_CLIP))) / _CERTAIN
        for judge, orders in means.items()
        if len(orders) == len(Order)
    }


def _matrix(labelled: Sequence[LabelledComparison], judges: Sequence[str]) -> tuple[Floats, Floats]:
    """(n, k) features and (n,) outcomes; a judge that did not answer a comparison in both orders has 0."""
    seen = [_answered(each.verdicts) for each in labelled]
    features = np.array([[row.get(judge, 0.0) for judge in judges] for row in seen])
    return features, np.array([each.outcome for each in labelled])


def _fit(features: Floats, outcomes: Floats) -> tuple[Floats, float]:
    """The weights, and the penalty that they were fitted with."""
    fitted = [(fit_logistic(features, outcomes, l2=penalty), penalty) for penalty in PENALTIES]
    return max(fitted, key=lambda each: log_evidence(each[0], features, outcomes, l2=each[1]))
