"""What a judge is configured with. One model per kind; the API validates with them and the workers build from them."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from app.rlaif.checks import InvalidRubric, validate_rubric
from app.rlaif.questions import AnswerStyle
from app.rlaif.rubric import Criterion, Rubric

Family = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Price = Annotated[float, Field(strict=True, ge=0, le=1e6, allow_inf_nan=False)]
PerMinute = Annotated[float, Field(strict=True, gt=0, le=1e9, allow_inf_nan=False)]
Seconds = Annotated[float, Field(strict=True, gt=0, le=3600, allow_inf_nan=False)]


class _Judge(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ChecksJudge(_Judge):
    """A program that scores both completions by the rubric's checks and prefers the better score."""

    kind: Literal["checks"] = "checks"
    family: Family = Field("checks", description="Whose judgement this is; a judge of another family evaluates")
    criteria: Annotated[tuple[Criterion, ...], Field(max_length=100)] = Field(
        (), description="Criteria that replace the rubric's: that makes a second, independent judge. Each needs a check"
    )
    sharpness: Annotated[float, Field(strict=True, gt=0, le=1000, allow_inf_nan=False)] = Field(
        6.0, description="P(A is better) = sigmoid(sharpness * (score of A - score of B)), scores in [0, 1]"
    )

    @model_validator(mode="after")
    def _criteria_can_run(self) -> Self:
        if not self.criteria:
            return self
        if unchecked := [criterion.name for criterion in self.criteria if criterion.check is None]:
            raise ValueError(f"a checks judge needs a check in each of its criteria, {unchecked[0]!r} has none")
        try:
            validate_rubric(Rubric(criteria=self.criteria))
        except InvalidRubric as error:
            raise ValueError(str(error)) from error
        return self

    def reads(self, rubric: Rubric) -> Rubric:
        """What it scores by where a run has `rubric`: its own criteria, if it has any."""
        return Rubric(criteria=self.criteria) if self.criteria else rubric


class RemoteJudge(_Judge):
    """A model behind a provider's endpoint: what is the same for all providers."""

    family: Family = Field(description="The model's family, such as gpt or qwen: a judge of another family evaluates")
    base_url: Annotated[str, StringConstraints(max_length=2000)] = Field(
        description="The endpoint up to and with its version, such as https://api.openai.com/v1"
    )
    model: Name = Field(description="The model's name at the endpoint")
    secret: Name | None = Field(None, description="Name of the stored secret that holds the API key")
    temperature: Annotated[float, Field(strict=True, ge=0, le=2)] | None = Field(
        0.0, description="Null sends none, for models that allow no choice"
    )
    max_tokens: Annotated[int, Field(strict=True, ge=1, le=32_768)] = Field(
        8, description="Enough for one label; a reasoning model needs room for its thoughts"
    )
    answer_format: Literal[AnswerStyle.LABEL, AnswerStyle.JSON_SCHEMA] = Field(
        AnswerStyle.LABEL,
        description="`label`: the bare letter or number; `json_schema`: an object that the endpoint holds to a schema",
    )
    repairs: Annotated[int, Field(strict=True, ge=0, le=1)] = Field(
        1, description="How often a question is asked again when its reply cannot be read; never after a refusal"
    )
    max_concurrency: Annotated[int, Field(strict=True, ge=1, le=4096)] = Field(
        16, description="Questions in flight at once, in each shard"
    )
    max_attempts: Annotated[int, Field(strict=True, ge=1, le=20)] = Field(
        5, description="Calls a question may take before its verdict is INVALID"
    )
    timeout_s: Seconds = Field(60.0, description="Limit of one call, from connecting to the last byte")
    question_timeout_s: Seconds = Field(300.0, description="Limit of all calls and waits for one question")
    outage_after: Annotated[int, Field(strict=True, ge=1, le=10_000)] = Field(
        20, description="Calls in a row that do not reach the endpoint before the shard is given back to wait"
    )
    requests_per_minute: PerMinute | None = Field(
        None, description="What the endpoint allows this key, kept by all workers together; null: learned from its 429s"
    )
    tokens_per_minute: PerMinute | None = Field(
        None, description="As requests_per_minute, for the tokens read and written; a call is counted before it is made"
    )
    usd_per_million_input_tokens: Price | None = Field(
        None, description="Null: the operator's price table decides, by the model's name"
    )
    usd_per_million_output_tokens: Price | None = Field(None, description="As usd_per_million_input_tokens")
    usd_per_million_cached_input_tokens: Price | None = Field(
        None, description="For input tokens that the endpoint reports as cached; null: as any others"
    )

    @model_validator(mode="after")
    def _prices_come_together(self) -> Self:
        if (self.usd_per_million_input_tokens is None) != (self.usd_per_million_output_tokens is None):
            raise ValueError("give both prices, of input and of output tokens, or leave both to the price table")
        if self.usd_per_million_cached_input_tokens is not None and self.usd_per_million_input_tokens is None:
            raise ValueError("a price of cached input tokens needs those of input and output tokens beside it")
        return self

    @field_validator("base_url")
    @classmethod
    def _is_plain_http(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("base_url must be an http or https address, such as https://api.openai.com/v1")
        if parts.username is not None or parts.password is not None:
            raise ValueError("base_url must not hold credentials: store the key as a secret and name it in `secret`")
        if parts.query or parts.fragment:
            raise ValueError("base_url must not have a query or a fragment")
        _ = parts.port  # raises ValueError outside 0..65535
        return value.rstrip("/")


class OpenAIJudge(RemoteJudge):
    """A model behind an OpenAI-compatible `/chat/completions` endpoint."""

    kind: Literal["openai"] = "openai"
    top_logprobs: Annotated[int, Field(strict=True, ge=2, le=20)] | None = Field(
        None, description="Alternatives to ask for: the soft label comes from them. Without, a reply is a vote"
    )
    token_limit_field: Literal["max_tokens", "max_completion_tokens"] = Field(
        "max_tokens", description="What the endpoint calls the limit; newer OpenAI models want the second"
    )


class AnthropicJudge(RemoteJudge):
    """A model behind Anthropic's Messages API. It gives no log-probabilities: a reply is a vote."""

    kind: Literal["anthropic"] = "anthropic"
    base_url: Annotated[str, StringConstraints(max_length=2000)] = Field(
        "https://api.anthropic.com/v1", description="The API up to and with its version"
    )
    version: Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$")] = Field(
        "2023-06-01", description="The API's version, sent as `anthropic-version`"
    )


class LocalJudge(_Judge):
    """A registered model that runs in the worker: the label is read off its next-token log-probabilities."""

    kind: Literal["local"] = "local"
    family: Family = Field(description="The model's family: a judge of another family evaluates")
    model: Name = Field(description="Id of the registered model")
    batch_size: Annotated[int, Field(strict=True, ge=1, le=4096)] = 16
    max_length: Annotated[int, Field(strict=True, ge=64, le=1_048_576)] = Field(
        8192, description="Tokens of a question; a longer one is INVALID (truncated), never cut"
    )


class RewardModelJudge(_Judge):
    """A trained reward model that runs in the worker: P(A is better) = sigmoid(reward of A - reward of B)."""

    kind: Literal["reward_model"] = "reward_model"
    family: Family = Field(description="The family of the model it was trained from")
    checkpoint: Name = Field(description="Id of a checkpoint of kind `reward_model`")
    batch_size: Annotated[int, Field(strict=True, ge=1, le=4096)] = 16


class ReplayJudge(_Judge):
    """Answers that a judge gave before: for audits, imports and tests. It asks nobody and guesses nothing."""

    kind: Literal["replay"] = "replay"
    family: Family = Field(description="The family of the judge that gave the answers")
    answers: Name = Field(description="Id of the uploaded answer set")


class PanelJudge(_Judge):
    """Several judges that are asked every question; their beliefs become one by a calibration's weights."""

    kind: Literal["panel"] = "panel"
    members: Annotated[tuple[Name, ...], Field(min_length=2, max_length=16)] = Field(
        description="Ids of judges that answer themselves, no panels or cascades"
    )
    calibration: Name | None = Field(
        None, description="Id of a calibration of these members; without one each has an equal vote, which is dangerous"
    )

    @field_validator("members")
    @classmethod
    def _are_distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _distinct(value)


class CascadeJudge(_Judge):
    """Judges from cheap to strong: each is asked about what the one before was not sure enough of."""

    kind: Literal["cascade"] = "cascade"
    steps: Annotated[tuple[Name, ...], Field(min_length=1, max_length=8)] = Field(
        description="Ids of judges that answer themselves, the cheapest first"
    )
    maximum_risk: Annotated[float, Field(strict=True, gt=0, lt=0.5, allow_inf_nan=False)] = Field(
        description="How often people may prefer the other side of what is decided; a calibration sets the thresholds"
    )
    then: Literal["people", "drop", "keep"] = Field(
        "people", description="What no step decides: put aside for people, dropped, or kept as the last judge has it"
    )
    calibration: Name | None = Field(
        None, description="Id of a calibration of these steps at this risk; without one only a calibration can use it"
    )

    @field_validator("steps")
    @classmethod
    def _are_distinct(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return _distinct(value)


SingleSpec = ChecksJudge | OpenAIJudge | AnthropicJudge | LocalJudge | RewardModelJudge | ReplayJudge
"""The kinds that answer themselves."""

RUN_A_MODEL = frozenset(("local", "reward_model"))
"""The kinds that compute in the worker: their shards go where the accelerator is."""

JudgeSpec = Annotated[SingleSpec | PanelJudge | CascadeJudge, Field(discriminator="kind")]


def style_of(spec: SingleSpec | PanelJudge | CascadeJudge) -> AnswerStyle:
    """How the judge is asked to put its answer."""
    match spec:
        case RemoteJudge():
            return spec.answer_format
        case LocalJudge():
            return AnswerStyle.OPTION
        case _:
            return AnswerStyle.LABEL


def members_of(spec: SingleSpec | PanelJudge | CascadeJudge) -> tuple[str, ...]:
    """The ids of the judges that a panel or cascade asks, in order; of a judge that answers itself none."""
    match spec:
        case PanelJudge():
            return spec.members
        case CascadeJudge():
            return spec.steps
        case _:
            return ()


def calibration_of(spec: SingleSpec | PanelJudge | CascadeJudge) -> str | None:
    """The calibration that a panel or cascade is configured with."""
    return spec.calibration if isinstance(spec, PanelJudge | CascadeJudge) else None


def _distinct(ids: tuple[str, ...]) -> tuple[str, ...]:
    if twice := [id_ for place, id_ in enumerate(ids) if id_ in ids[:place]]:
        raise ValueError(f"{twice[0]!r} is named twice: each judge is asked once")
    return ids
