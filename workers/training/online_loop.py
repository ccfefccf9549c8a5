"""The loop of an online training: draw, reward, learn, save; and go on from what was saved."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from app.rlaif.watch import Watch
from workers.sampling.language_model import LanguageModel
from workers.training.adapters import Adapters
from workers.training.completion_logprobs import CompletionScorer
from workers.training.contracts import (
    Progress,
    RewardsMissing,
    StateMismatch,
    TrainingStopped,
    TrainingUnhealthy,
    telling_not_finite,
)
from workers.training.experience import Experience, TokenValues, described, measured
from workers.training.figures import Figures, peak_memory
from workers.training.kl_control import KLControl
from workers.training.looks import Looks
from workers.training.online_config import OnlineConfig
from workers.training.online_objectives import Part, Prepared
from workers.training.optimiser import (
    Optimiser,
    autocast,
    random_state,
    recomputed_activations,
    require_finite,
    restore_random_state,
)
from workers.training.rewards import Reward
from workers.training.rollouts import RolloutGroup, RolloutSource
from workers.training.state import LatestState, TrainingState, load_latest, save_state

_STEPS_WITHOUT_REWARDS = 3


class OnlineLoop:
    """The steps of one training. What it holds beside the weights is in `position`, as JSON."""

    def __init__(
        self,
        config: OnlineConfig,
        policy: LanguageModel,
        source: RolloutSource,
        reward: Reward,
        *,
        critic: TokenValues | None,
        looks: Looks | None,
        state_dir: Path,
        progress: Progress,
    ) -> None:
        self._config, self._policy, self._source, self._reward = config, policy, source, reward
        self._looks = looks
        self._critic, self._state_dir, self._progress = critic, state_dir, progress
        self._objective = config.objective()
        self._scorer = CompletionScorer(policy.model)
        self._reference = CompletionScorer(copy.deepcopy(policy.model).requires_grad_(requires_grad=False))
        self._adapters = config.lora and Adapters(policy.model, config.lora, seed=config.seed, head=None)
        self._watch = Watch(config.health, progress.alarm)
        self._control = KLControl(config.beta, config.target_kl)
        self._updates = config.epochs * config.minibatches
        self._optimisers = self._make_optimisers()
        self.losses: list[float] = []
        self.metrics: dict[str, float] = {}
        self.counts = {"rollouts": 0, "missing_rewards": 0, "unrewarded_steps": 0}
        self.stopped_at_kl: float | None = None

    @property
    def done(self) -> int:
        """Steps."""
        return len(self.losses)

    def run(self) -> tuple[LatestState, int]:
        """Train to the end; the state that it went on from, and its step."""
        torch.manual_seed(self._config.seed)
        self._policy.model.eval()
        with telling_not_finite(self._progress):
            return self._run()

    def _run(self) -> tuple[LatestState, int]:
        latest = self._resume()
        first = self.done
        if self._looks is not None:
            self._looks.begin()
        while self.done < self._config.steps and self.stopped_at_kl is None:
            self._step(self.done)
            self._look()
            alarm = self._watch.see(self.done, self.metrics)
            if alarm is not None:
                self._progress.report(self.done, self._config.steps, self.metrics)
                raise TrainingUnhealthy(alarm)
            ends = self.done == self._config.steps or self.stopped_at_kl is not None
            stopping = self._progress.should_stop()
            if stopping or ends or self.done % self._config.save_steps == 0:
                save_state(self._state_dir, self._snapshot())
            self._progress.report(self.done, self._config.steps, self.metrics)
            if stopping and not ends:
                raise TrainingStopped(self.done, self._config.steps)
        return latest, first

    def _look(self) -> None:
        if self._looks is not None and self._looks.due(self.done, of=self._config.steps):
            began = time.monotonic()
            self.metrics |= {**self._looks.look(), "seconds_looking": time.monotonic() - began}

    def merge(self, out_dir: Path) -> None:
        """Save the adapters, if there are any, by themselves and leave the policy merged. Raises `MergeDiffers`."""
        if self._adapters:
            self._adapters.save(out_dir)
            self._adapters.merge(lambda: self._scorer.sums(self._source.probes()))

    def _step(self, step: int) -> None:
        began = time.monotonic()
        groups = self._source.draw(step, at_once=self._config.batch_size, should_stop=self._progress.should_stop)
        if groups is None:
            save_state(self._state_dir, self._snapshot())
            raise TrainingStopped(step, self._config.steps)
        drawn = time.monotonic()
        given = self._reward(groups)
        rewarded = time.monotonic()
        experience = self._experience(groups, given)
        prepared = self._objective.prepare(experience, beta=self._control.beta)
        learned = self._learn(step, experience, prepared) if prepared.learns else {"loss": 0.0}
        self._count(given, learns=prepared.learns)
        kl = float(experience.kl.mean())
        self.losses.append(learned["loss"])
        self.metrics = {
            **learned,
            **described(experience, given),
            "kl": kl,
            "beta": self._control.beta,
            "seconds_drawing": drawn - began,
            "seconds_rewarding": rewarded - drawn,
            "seconds_learning": time.monotonic() - rewarded,
            "tokens_per_second": float(experience.lengths.sum()) / (time.monotonic() - began),
            "memory_bytes": peak_memory(self._policy.device),
        }
        self._control.seen(kl)
        if self._config.max_kl is not None and kl > self._config.max_kl:
            self.stopped_at_kl = kl

    def _experience(self, groups: Sequence[RolloutGroup], given: Sequence[float | None]) -> Experience:
        device, at_once = self._policy.device, self._config.batch_size
        cast = partial(autocast, device, self._config.precision)
        rollouts = [rollout for group in groups for rollout in group.rollouts]
        prompt_groups = [group.prompt_group for group in groups]
        penalty = self._config.missing_eos_penalty
        rewards = [
            torch.nan if reward is None else reward - (0.0 if rollout.finished else penalty)
            for reward, rollout in zip(given, rollouts, strict=True)
        ]
        kept = [rollout.finished or not self._config.mask_truncated for rollout in rollouts]
        policy = measured(prompt_groups, self._scorer, at_once=at_once, cast=cast)
        critic = self._critic
        values = None if critic is None else measured(prompt_groups, critic, at_once=at_once, cast=cast)
        return Experience(
            groups=groups,
            rewards=torch.tensor(rewards, device=device).view(len(groups), -1),
            policy=policy,
            reference=measured(prompt_groups, self._reference, at_once=at_once, cast=cast),
            values=torch.zeros_like(policy) if values is None else values,
            lengths=torch.tensor([len(rollout.ids) for rollout in rollouts], device=device),
            kept=torch.tensor(kept, device=device),
        )

    def _learn(self, step: int, experience: Experience, prepared: Prepared) -> dict[str, float]:
        """All optimiser steps on one experience; means of the figures over them."""
        figures = Figures()
        groups = len(experience.groups)
        for update in range(self._updates):
            part = update % self._config.minibatches
            chosen = range(part * groups // self._config.minibatches, (part + 1) * groups // self._config.minibatches)
            loss, seen = self._gradient(experience, prepared, chosen)
            require_finite("loss", loss, step)
            norms = [optimiser.apply(step * self._updates + update) for optimiser in self._optimisers]
            figures.add({**seen, "loss": (loss, 1.0), "grad_norm": (norms[0].grad_norm, 1.0)})
            figures.add({"learning_rate": (norms[0].learning_rate, 1.0)})
        return figures.means()

    def _gradient(
        self, experience: Experience, prepared: Prepared, chosen: range
    ) -> tuple[float, dict[str, tuple[float, float]]]:
        """Add the gradient of some groups, a forward pass at a time; their loss and figures.

        Each part's loss is a share of the whole step's, so a minibatch's is scaled up to stand for it.
        """
        completions = self._config.completions
        scale = len(experience.groups) / max(1, len(chosen))
        total, figures = 0.0, Figures()
        for start in range(chosen.start, chosen.stop, self._config.batch_size):
            stop = min(start + self._config.batch_size, chosen.stop)
            groups = [group.prompt_group for group in experience.groups[start:stop]]
            with autocast(self._policy.device, self._config.precision), self._recomputing():
                policy = self._scorer.by_token(groups)
                values = torch.zeros_like(policy) if self._critic is None else self._critic.by_token(groups)
                found = prepared.loss(Part(slice(start * completions, stop * completions), policy, values))
                (found.loss * scale).backward()  # type: ignore[no-untyped-call]
            total += float(found.loss.detach()) * scale
            figures.add({name: (float(mean.total), float(mean.count)) for name, mean in found.figures.items()})
        return total, figures.sums

    def _recomputing(self) -> AbstractContextManager[None]:
        return recomputed_activations(self._policy.model) if self._config.gradient_checkpointing else nullcontext()

    def _count(self, given: Sequence[float | None], *, learns: bool) -> None:
        self.counts["rollouts"] += len(given)
        self.counts["missing_rewards"] += sum(reward is None for reward in given)
        self.counts["unrewarded_steps"] = 0 if learns else self.counts["unrewarded_steps"] + 1
        if self.counts["unrewarded_steps"] >= _STEPS_WITHOUT_REWARDS and all(reward is None for reward in given):
            raise RewardsMissing(self.counts["unrewarded_steps"])

    def _make_optimisers(self) -> list[Optimiser]:
        total = self._config.steps * self._updates
        optimisers = [Optimiser(self._policy.model, self._config, total_steps=total)]
        if self._critic is not None:
            rate = self._config.critic_learning_rate or self._config.learning_rate
            settings = replace(self._config, learning_rate=rate)
            optimisers.append(Optimiser(self._critic.model, settings, total_steps=total, name="critic."))
        return optimisers

    def _fingerprint(self) -> str:
        settings = asdict(self._config) | {"model_dir": None, "save_steps": None, "health": None}
        return self._source.fingerprint(settings)

    def _snapshot(self) -> TrainingState:
        tensors = random_state(self._policy.device)
        for optimiser in self._optimisers:
            tensors |= optimiser.tensors()
        position = {
            "fingerprint": self._fingerprint(),
            "losses": self.losses,
            "metrics": self.metrics,
            "counts": self.counts,
            "beta": self._control.beta,
            "stopped_at_kl": self.stopped_at_kl,
            "watch": self._watch.state,
            "first_look": None if self._looks is None else self._looks.first,
        }
        return TrainingState(self.done, tensors, position)

    def _resume(self) -> LatestState:
        latest = load_latest(self._state_dir)
        if latest.state is None:
            return latest
        position: Mapping[str, Any] = latest.state.position
        if position["fingerprint"] != self._fingerprint():
            raise StateMismatch(self._state_dir)
        for optimiser in self._optimisers:
            optimiser.restore(latest.state.tensors)
        restore_random_state(latest.state.tensors, self._policy.device)
        self.losses, self.metrics, self.counts = list(position["losses"]), position["metrics"], position["counts"]
        self._control.beta, self.stopped_at_kl = position["beta"], position["stopped_at_kl"]
        self._watch.restore(position["watch"])
        if self._looks is not None:
            self._looks.first = position["first_look"]
        return latest
