"""Losses on soft labels: what is lost on a pair of which the first completion is the better with probability p.

A reward is beta * log(pi / ref) of a completion, by token where the loss goes by token, with ref = 1 where it has no
reference; z is the first's reward less the second's, s(x) = -log sigmoid(x). With hard labels each is its paper's:

    sigmoid       p s(z) + (1 - p) s(-z)                       DPO (arXiv 2305.18290); smoothed labels: cDPO
    sigmoid_norm  the same by token                            Tulu 3 (arXiv 2411.15124)
    robust        the same with p such that, if `label_smoothing` of the labels are wrong, the mean loss is that of
                  the right ones: (p - e) / (1 - 2e)           rDPO (arXiv 2403.00409)
    ipo           p (u - t)^2 + (1 - p) (u + t)^2, u = z / beta, t = 1 / (2 beta), by token as its authors advise
                                                               IPO (arXiv 2310.12036)
    simpo         p s(z - gamma) + (1 - p) s(-z - gamma)       SimPO (arXiv 2405.14734)
    orpo          beta (p s(o) + (1 - p) s(-o)), o the log odds ratio of the mean likelihoods a token
                                                               ORPO (arXiv 2403.07691)
    kto           each completion by itself against the batch's baseline b: good, 1 - sigmoid(r - b), with p for the
                  first and 1 - p for the second; bad, 1 - sigmoid(b - r), with the rest
                                                               KTO (arXiv 2402.01306), its two weights 1
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from app.rlaif.preference_loss import LOSS_SETTINGS, PreferenceLoss
from workers.training import ranks
from workers.training.pairs import soft_log_loss


@dataclass(frozen=True)
class CompletionScores:
    """Log-probabilities in nats under the policy and under the reference (zeros where there is none), and tokens.

    All (pairs, completions): the first, the second and, for `kto`, one that answers another prompt.
    """

    policy: torch.Tensor
    reference: torch.Tensor
    tokens: torch.Tensor


@dataclass(frozen=True)
class PairLoss:
    """One of the losses with its settings; `gamma` and `label_smoothing` are None where it does not read them."""

    loss: PreferenceLoss
    beta: float
    gamma: float | None
    label_smoothing: float | None

    def rewards(self, scores: CompletionScores) -> torch.Tensor:
        """(pairs, completions)."""
        ratio = scores.policy - scores.reference
        return self.beta * (ratio / scores.tokens if LOSS_SETTINGS[self.loss].by_token else ratio)

    def __call__(self, rewards: torch.Tensor, probability: torch.Tensor) -> torch.Tensor:
        """What is lost on each pair (pairs,)."""
        first, second = rewards[:, 0], rewards[:, 1]
        margin = first - second
        smoothing, gamma = self.label_smoothing or 0.0, self.gamma or 0.0
        match self.loss:
            case PreferenceLoss.SIGMOID:
                return soft_log_loss(margin, probability + smoothing * (1 - 2 * probability))
            case PreferenceLoss.ROBUST:
                return soft_log_loss(margin, (probability - smoothing) / (1 - 2 * smoothing))
            case PreferenceLoss.SIGMOID_NORM:
                return soft_log_loss(margin, probability)
            case PreferenceLoss.SIMPO:
                return soft_log_loss(margin, probability, lead=gamma)
            case PreferenceLoss.IPO:
                right, wrong = ((margin - 0.5) / self.beta) ** 2, ((margin + 0.5) / self.beta) ** 2
                return probability * right + (1 - probability) * wrong
            case PreferenceLoss.ORPO:
                odds = _log_odds(first / self.beta) - _log_odds(second / self.beta)
                return self.beta * soft_log_loss(odds, probability)
            case PreferenceLoss.KTO:
                baseline = ranks.mean(rewards[:, 2]).clamp(min=0)
                return (_unpaired(first - baseline, probability) + _unpaired(second - baseline, 1 - probability)) / 2


def _log_odds(logprob: torch.Tensor) -> torch.Tensor:
    """log(P / (1 - P)) from log P < 0, exact also where P is near 0 or 1."""
    return logprob - torch.log(-torch.expm1(logprob))


def _unpaired(advantage: torch.Tensor, probability: torch.Tensor) -> torch.Tensor:
    return probability * torch.sigmoid(-advantage) + (1 - probability) * torch.sigmoid(advantage)
