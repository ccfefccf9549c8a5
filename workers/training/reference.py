"""Log-probabilities under the reference model: computed once for the same weights and tokens, whichever training asks.

The reference of a training is the model that it starts from, so they are a function of its weights and of token ids
(tokenizer, template and max_length show in those). A whole data set is one entry: a completion's last bits depend on
what was computed beside it, and an entry put together from several would let a training's result depend on what ran
before it.
"""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from app.rlaif.training import Precision
from workers.training import ranks
from workers.training.completion_logprobs import CompletionScorer
from workers.training.contracts import Progress, TrainingStopped
from workers.training.optimiser import autocast
from workers.training.shared_prompts import PromptGroup

_TOKENS_AT_ONCE = 2**13  # of padded rows
_DIGEST = "sha256"
_LOGPROBS = "logprobs"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReferenceCache:
    """Files in `directory`, which processes may share; `model` is the digest of the reference's weights.

    The least recently used are removed beyond `limit_bytes`.
    """

    directory: Path
    model: str
    limit_bytes: int = 2**28

    def key(self, groups: Sequence[PromptGroup], *, device: torch.device, precision: Precision) -> str:
        """SHA-256 of all that decides the numbers; labels and weights do not."""
        numbers = (self.model, device.type, precision.value, torch.__version__, _TOKENS_AT_ONCE)
        digest = hashlib.sha256(repr(numbers).encode())
        for group in groups:
            digest.update(repr((group.prompt, group.completions)).encode())
        return digest.hexdigest()

    def get(self, key: str) -> torch.Tensor | None:
        """Log-probabilities (groups, completions); None when never put, removed since, or damaged, which is logged."""
        path = self._path(key)
        try:
            with safe_open(path, framework="pt") as file:
                values: torch.Tensor = file.get_tensor(_LOGPROBS)
                digest = file.metadata()[_DIGEST]
            os.utime(path)
        except FileNotFoundError:
            return None
        except (SafetensorError, KeyError, TypeError) as problem:
            logger.warning("reference %s is unreadable (%s); it is computed again", key, problem)
            return None
        if _digest_of(values) != digest:
            logger.warning("reference %s does not match its digest; it is computed again", key)
            return None
        return values

    def put(self, key: str, values: torch.Tensor) -> None:
        """Appears whole or not at all."""
        self.directory.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.directory, prefix=".writing-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(save({_LOGPROBS: values}, metadata={_DIGEST: _digest_of(values)}))
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, self._path(key))
        finally:
            Path(name).unlink(missing_ok=True)
        self._shrink()

    def _path(self, key: str) -> Path:
        return self.directory / f"{key}.safetensors"

    def _shrink(self) -> None:
        """Other processes may remove the same files at the same time."""
        found = ((_status(path), path) for path in self.directory.iterdir())
        known = [(status.st_mtime, status.st_size, path) for status, path in found if status is not None]
        used = 0
        for _, size, path in sorted(known, reverse=True):
            used += size
            if used > self.limit_bytes:
                path.unlink(missing_ok=True)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _digest_of(values: torch.Tensor) -> str:
    return hashlib.sha256(values.numpy().tobytes()).hexdigest()


@dataclass(frozen=True)
class ReferenceLogprobs:
    """One row of log-probabilities (nats) a group, one value a completion; and whether they were in the cache."""

    values: tuple[tuple[float, ...], ...]
    from_cache: bool


def no_reference(groups: Sequence[PromptGroup]) -> ReferenceLogprobs:
    """Zeros, for a loss that compares the policy with nothing."""
    return ReferenceLogprobs(tuple((0.0,) * len(group.completions) for group in groups), from_cache=False)


def reference_logprobs(
    groups: Sequence[PromptGroup],
    scorer: CompletionScorer,
    cache: ReferenceCache,
    *,
    precision: Precision,
    progress: Progress,
) -> ReferenceLogprobs:
    """Under the model of `scorer`, before a step is taken; groups have equally many completions.

    Raises `TrainingStopped` between batches.
    """
    key = cache.key(groups, device=scorer.device, precision=precision)
    cached = _cached(cache, key, torch.empty(len(groups), len(groups[0].completions)), device=scorer.device)
    values = _compute(groups, scorer, precision=precision, progress=progress) if cached is None else cached
    if cached is None and ranks.is_first():
        cache.put(key, values)
    return ReferenceLogprobs(tuple(map(tuple, values.tolist())), from_cache=cached is not None)


def _cached(cache: ReferenceCache, key: str, like: torch.Tensor, *, device: torch.device) -> torch.Tensor | None:
    """What the first rank found: another might find something else, if it looked a moment later."""
    found = cache.get(key) if ranks.is_first() else None
    if not ranks.from_first(torch.tensor(found is not None, dtype=torch.uint8, device=device)):
        return None
    return ranks.from_first((like if found is None else found).to(device)).cpu()


@torch.no_grad()
def _compute(
    groups: Sequence[PromptGroup], scorer: CompletionScorer, *, precision: Precision, progress: Progress
) -> torch.Tensor:
    values = torch.empty(len(groups), len(groups[0].completions))
    for batch in batches_by_length(groups):
        if progress.should_stop():
            raise TrainingStopped(0, len(groups))
        with autocast(scorer.device, precision):
            sums = scorer.sums([groups[index] for index in batch])
        values[batch] = sums.view(len(batch), -1).float().cpu()
    return values


def batches_by_length(groups: Sequence[PromptGroup]) -> list[list[int]]:
    """Indices in order of length, as many at once as there is room for."""
    batches: list[list[int]] = []
    for index in sorted(range(len(groups)), key=lambda index: groups[index].longest):
        padded = groups[index].longest * len(groups[index].completions)
        if batches and padded * (len(batches[-1]) + 1) <= _TOKENS_AT_ONCE:
            batches[-1].append(index)
        else:
            batches.append([index])
    return batches
