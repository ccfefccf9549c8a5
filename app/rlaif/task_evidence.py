"""What a policy and its base model scored on a capability task, and how sure the difference is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from app.rlaif.binomial import sign_test
from app.rlaif.logistic import Floats
from app.rlaif.measured import Measured
from app.rlaif.resampling import Resampler
from app.rlaif.task import MetricName

Scores = Sequence[Mapping[str, float]]
"""Of one model, by document in their order, each by figure."""

Figure = Annotated[float, Field(allow_inf_nan=False)]


class _Evidence(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TaskFigure(_Evidence):
    """One metric of a task, before and after; `difference` is policy less base, resampled by document.

    `gained` and `lost` count the documents that only the policy, and only the base model, has right; `p_value` is the
    exact McNemar test's. All three are null where a document's score is not right or wrong.
    """

    figure: str
    higher_is_better: bool
    base: Figure
    policy: Figure
    difference: Measured
    gained: Annotated[int, Field(ge=0)] | None
    lost: Annotated[int, Field(ge=0)] | None
    p_value: Annotated[float, Field(ge=0, le=1)] | None

    @property
    def change(self) -> Measured:
        """The difference with its sign such that above 0 is better."""
        found = self.difference
        if self.higher_is_better:
            return found
        return Measured(value=-found.value, low=-found.high, high=-found.low, n=found.n)


class TaskResult(_Evidence):
    """A task's figures, the first of which a gate reads. The digests name whose outcomes are listed by document."""

    task_id: str
    digest: str
    documents: Annotated[int, Field(ge=1)]
    base_digest: str
    policy_digest: str
    figures: Annotated[list[TaskFigure], Field(min_length=1)]


def figure(name: str, metric: MetricName, base: Scores, policy: Scores, *, resampler: Resampler) -> TaskFigure:
    """Both models' scores on the same documents, which are in the same order."""
    pairs = np.array([[one[name], other[name]] for one, other in zip(base, policy, strict=True)])
    binary = bool(np.isin(pairs, (0.0, 1.0)).all()) and metric is not MetricName.PERPLEXITY
    gained, lost = (int((pairs @ sign == 1).sum()) for sign in ([-1.0, 1.0], [1.0, -1.0]))
    means = pairs.mean(axis=0)
    before, after = (float(value) for value in _aggregated(means, metric))
    return TaskFigure(
        figure=name,
        higher_is_better=metric.higher_is_better,
        base=before,
        policy=after,
        difference=_difference(pairs, metric, resampler),
        gained=gained if binary else None,
        lost=lost if binary else None,
        p_value=sign_test(gained, lost) if binary else None,
    )


def _difference(pairs: Floats, metric: MetricName, resampler: Resampler) -> Measured:
    documents = [f"{place:09d}" for place in range(len(pairs))]
    columns = np.column_stack([pairs, np.ones(len(pairs))])

    def statistic(sums: Floats) -> Floats:
        found = _aggregated(sums[..., :2] / sums[..., 2:], metric)
        return np.asarray(found[..., 1] - found[..., 0])

    measured = resampler.ratio_of(documents, columns, statistic, n=len(pairs))
    if measured is None:
        raise ValueError("a task has at least one document")
    return measured


def _aggregated(means: Floats, metric: MetricName) -> Floats:
    """Perplexity is exp of the mean negative log-probability over documents (lm_eval/api/metrics.py)."""
    return np.exp(np.minimum(-means, _LARGEST_EXPONENT)) if metric is MetricName.PERPLEXITY else means


_LARGEST_EXPONENT = math.log(1e300)
