"""Watches the figures of a training, step by step, and raises its alarms: the same figures raise the same alarms.

What is remembered is small and goes into the training's saved state, so that a training which is resumed is watched as
if it had never been interrupted. Pure: whom an alarm is told is passed in.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from types import MappingProxyType
from typing import Any

from app.rlaif.health import Alarm, AlarmKind, HealthConfig

SHARED_RISE = 0.2
"""Answers to one kind of prompt have words in common from the start: a collapse adds so much to that at least."""

REWARD_RISE = 0.25
"""What counts as a reward that rose: standard deviations of the rewards within a step, at the start."""

_WATCHED = (
    "margin",
    "chosen_logp_per_token",
    "completion_tokens",
    "kl_per_token",
    "shared_ngrams",
    "reward",
    "reward_std",
)
_PER_TOKEN = MappingProxyType(
    {
        "chosen_logp_per_token": ("chosen_logp", "chosen_tokens"),
        "kl_per_token": ("kl", "completion_tokens"),
    }
)
_LOOK = ("held_out_judge", "held_out_judge_change", "held_out_judge_error")

Found = dict[str, float | None]
Rule = Callable[["Course", float], Found | None]


class Course:
    """Of each watched figure its first values and its latest, a window of each; and the last look of a judge.

    A figure that a step lacks, or that is not finite, is missing: its window waits for other steps.
    """

    def __init__(self, window: int, state: Mapping[str, Mapping[str, Sequence[float]]] | None = None) -> None:
        self._window = window
        known = state or {}
        self._first = {name: list(values) for name, values in known.get("first", {}).items()}
        self._latest = {name: list(values) for name, values in known.get("latest", {}).items()}
        self.look: dict[str, float] = {}

    @property
    def state(self) -> dict[str, dict[str, list[float]]]:
        return {"first": self._first, "latest": self._latest}

    def add(self, figures: Mapping[str, float]) -> None:
        """One step's figures."""
        known = {name: value for name, value in figures.items() if math.isfinite(value)}
        for name, (total, tokens) in _PER_TOKEN.items():
            if total in known and known.get(tokens, 0.0) > 0:
                known[name] = known[total] / known[tokens]
        for name in _WATCHED:
            if name in known:
                self._remember(name, known[name])
        self.look = {name: known[name] for name in _LOOK if name in known}

    def _remember(self, name: str, value: float) -> None:
        first, latest = self._first.setdefault(name, []), self._latest.setdefault(name, [])
        if len(first) < self._window:
            first.append(value)
        else:
            latest.append(value)
            del latest[: -self._window]

    def start(self, name: str) -> float | None:
        """The median of the first values; None until there is a window of them."""
        values = self._first.get(name, [])
        return median(values) if len(values) == self._window else None

    def now(self, name: str) -> float | None:
        """The median of the latest values, none of them among the first; None until there is a window of them."""
        values = self._latest.get(name, [])
        return median(values) if len(values) == self._window else None

    def both(self, name: str) -> tuple[float, float] | None:
        """How a figure began, and how it is now."""
        start, now = self.start(name), self.now(name)
        return None if start is None or now is None else (start, now)


def chosen_logprob_falling(course: Course, limit: float) -> Found | None:
    """The better completions become less likely, by more than `limit` nats a token (arXiv 2410.08847, 2402.13228)."""
    found = course.both("chosen_logp_per_token")
    return _told("chosen_logp_per_token", found) if found and found[1] < found[0] - limit else None


def margin_exploding(course: Course, limit: float) -> Found | None:
    """The better side is ahead by more than any label asks for: pairs are being learned by heart."""
    found = course.both("margin")
    return _told("margin", found) if found and found[1] > limit else None


def length_drift(course: Course, limit: float) -> Found | None:
    """Answers are `limit` times longer or shorter than at first (arXiv 2310.03716)."""
    found = course.both("completion_tokens")
    return (
        None if found is None or found[0] / limit < found[1] < found[0] * limit else _told("completion_tokens", found)
    )


def kl_exploding(course: Course, limit: float) -> Found | None:
    """The policy is further from the reference than its reward was made for (arXiv 2210.10760)."""
    found = course.both("kl_per_token")
    return _told("kl_per_token", found) if found and found[1] > limit else None


def collapse(course: Course, limit: float) -> Found | None:
    """Answers to different prompts say the same words."""
    found = course.both("shared_ngrams")
    if found is None or found[1] < limit or found[1] < found[0] + SHARED_RISE:
        return None
    return _told("shared_ngrams", found)


def reward_hacking(course: Course, limit: float) -> Found | None:
    """The reward rose, and the judge that is not rewarded by finds the answers worse than at first (arXiv 2210.10760).

    It is worse when the change, prompt by prompt, is more than `limit` standard errors below 0.
    """
    reward, spread = course.both("reward"), course.start("reward_std")
    if reward is None or spread is None or len(course.look) < len(_LOOK):
        return None
    rose = reward[1] > reward[0] + REWARD_RISE * spread
    change, error = course.look["held_out_judge_change"], course.look["held_out_judge_error"]
    return {**_told("reward", reward), **course.look} if rose and change < -limit * error else None


def _told(name: str, found: tuple[float, float]) -> Found:
    return {f"{name}_at_first": found[0], name: found[1]}


RULES: Mapping[AlarmKind, Rule] = MappingProxyType(
    {
        AlarmKind.CHOSEN_LOGPROB_FALLING: chosen_logprob_falling,
        AlarmKind.MARGIN_EXPLODING: margin_exploding,
        AlarmKind.LENGTH_DRIFT: length_drift,
        AlarmKind.KL_EXPLODING: kl_exploding,
        AlarmKind.COLLAPSE: collapse,
        AlarmKind.REWARD_HACKING: reward_hacking,
    }
)


class Watch:
    """Sees every step of one training. Each alarm is told once; after a resume again, to whoever may have missed it."""

    def __init__(self, config: HealthConfig, tell: Callable[[Alarm], None]) -> None:
        self._config = config
        self._tell = tell
        self._course = Course(config.window)
        self._limits = config.limits()
        self._alarms: list[Alarm] = []

    def see(self, step: int, figures: Mapping[str, float]) -> Alarm | None:
        """Tell the alarms that step `step` raises, before its state is saved; the one that is to stop the training."""
        self._course.add(figures)
        raised = {alarm.kind for alarm in self._alarms}
        new = [
            Alarm(kind=kind, step=step, limit=limit, figures=found)
            for kind, limit in self._limits.items()
            if kind not in raised and (found := RULES[kind](self._course, limit)) is not None
        ]
        self._alarms += new
        for alarm in new:
            self._tell(alarm)
        return next((alarm for alarm in new if self._config.stops(alarm.kind)), None)

    @property
    def state(self) -> dict[str, Any]:
        """What `restore` goes on from, as JSON."""
        return {**self._course.state, "alarms": [alarm.model_dump(mode="json") for alarm in self._alarms]}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._course = Course(self._config.window, state)
        self._alarms = [Alarm.model_validate(alarm) for alarm in state["alarms"]]
        for alarm in self._alarms:
            self._tell(alarm)
