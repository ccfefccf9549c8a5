"""From a judge's configuration to the judge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from app.addresses import Network
from app.rlaif.judges import (
    AnthropicJudge,
    ChecksJudge,
    LocalJudge,
    OpenAIJudge,
    ReplayJudge,
    RewardModelJudge,
    SingleSpec,
)
from app.rlaif.prices import Tariff
from workers.judges.anthropic import Messages
from workers.judges.cache import ReplyCache
from workers.judges.chat_completions import ChatCompletions
from workers.judges.checks import ProgramJudge
from workers.judges.dialect import Dialect
from workers.judges.limits import Limits
from workers.judges.protocol import Judge, JudgeMisconfigured
from workers.judges.remote import EndpointJudge
from workers.judges.replay import StoredJudge


def build_judge(
    spec: SingleSpec,
    *,
    may_spend: Callable[[], bool],
    api_key: str | None = None,
    model_dir: Path | None = None,
    answers: Path | None = None,
    private_networks: Sequence[Network] = (),
    tariff: Tariff | None = None,
    limits: Limits | None = None,
    cache: ReplyCache | None = None,
) -> Judge:
    """The judge that `spec` describes.

    `api_key` is the value of the secret that an `openai` judge names; `model_dir` holds the model of a
    `local` or `reward_model` one; `answers` is the JSONL file of a `replay` one.
    A name that leads to an address neither public nor in `private_networks` is not connected to.
    `tariff` is what its tokens cost, where the judge does not say so itself; `limits` are those that it shares with
    other processes; `cache` holds the replies that need not be asked for again. `may_spend` is asked before every paid
    call. Raises JudgeMisconfigured when one of them is missing.
    """
    match spec:
        case ChecksJudge():
            return ProgramJudge(spec)
        case OpenAIJudge() | AnthropicJudge():
            if spec.secret is not None and not api_key:
                raise JudgeMisconfigured(f"secret {spec.secret!r} of judge model {spec.model!r} has no value: store it")
            return EndpointJudge(
                spec,
                dialect_of(spec),
                api_key=api_key,
                may_spend=may_spend,
                private_networks=private_networks,
                tariff=tariff,
                limits=limits,
                cache=cache,
            )
        case LocalJudge():
            if model_dir is None:
                raise JudgeMisconfigured(f"model {spec.model!r} of a local judge has no files here: register it again")
            from workers.judges.local import ModelJudge  # torch: only where a local judge runs

            return ModelJudge(spec, model_dir=model_dir)
        case RewardModelJudge():
            if model_dir is None:
                raise JudgeMisconfigured(f"checkpoint {spec.checkpoint!r} of a reward model judge has no files here")
            from workers.judges.reward_model import TrainedJudge  # torch: only where a reward model judges

            return TrainedJudge(spec, model_dir=model_dir)
        case ReplayJudge():
            if answers is None:
                raise JudgeMisconfigured(f"answer set {spec.answers!r} has no file here: upload it again")
            return StoredJudge(answers)


def dialect_of(spec: OpenAIJudge | AnthropicJudge) -> Dialect:
    """How the judge's provider is spoken to."""
    match spec:
        case OpenAIJudge():
            return ChatCompletions(spec)
        case AnthropicJudge():
            return Messages(spec)
