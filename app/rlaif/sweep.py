"""The candidates of a sweep: one policy for each combination of the values that a run lists.

A candidate is a recipe without a sweep: what it trains is what a run of that recipe would train.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.rlaif.promotion import Cohort, Tolerance

if TYPE_CHECKING:
    from app.rlaif.recipe import Recipe

MOST_CANDIDATES = 32
_DECIDES_DEFAULTS = ("method", "loss", "lora")
"""The settings on which the defaults of others depend."""

SettingName = Annotated[str, Field(max_length=100)]
Settings = dict[SettingName, JsonValue]
"""Values by the name of a setting of recipe.policy; a dot leads into a part of it, as in `lora.rank`."""


class SweepConfig(BaseModel):
    """Which settings of the policy take which values. Every combination is trained, evaluated and compared."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    policy: (
        Annotated[
            dict[SettingName, Annotated[list[JsonValue], Field(min_length=1, max_length=MOST_CANDIDATES)]],
            Field(min_length=1, max_length=8),
        ]
        | None
    ) = Field(
        None,
        description="Values by the name of a setting of recipe.policy, as `beta` or `lora.rank`: every combination",
        examples=[{"beta": [0.05, 0.1], "learning_rate": [1e-6, 3e-6]}],
    )
    candidates: Annotated[list[Settings], Field(min_length=2, max_length=MOST_CANDIDATES)] | None = Field(
        None,
        description="Instead of `policy`: the settings of each candidate, where not every combination is wanted",
        examples=[[{"beta": 0.05, "learning_rate": 3e-6}, {"loss": "simpo"}]],
    )
    capability_cohorts: Annotated[list[Cohort], Field(max_length=100)] | None = Field(
        None,
        description="Cohorts in which a candidate must not surely lose to the base model; null: those of the held-out "
        "prompts that are named `capability` or `regression`",
    )
    tolerance: Tolerance = Field(
        0.0,
        description="How far below 0.5 the interval of such a cohort's win rate may end and the candidate still win",
    )

    @model_validator(mode="after")
    def _lists_candidates_one_way(self) -> Self:
        if (self.policy is None) == (self.candidates is None):
            raise ValueError("a sweep lists its candidates by `policy` or by `candidates`: give one of the two")
        count = prod(len(values) for values in (self.policy or {}).values())
        if self.policy is not None and count < 2:
            raise ValueError(f"`policy` lists {count} combination: give a setting a second value, or leave sweep out")
        if self.policy is not None and count > MOST_CANDIDATES:  # counted, not listed: 32^8 would fill the memory
            raise ValueError(
                f"`policy` lists {count} combinations, and {MOST_CANDIDATES} are the most: list fewer values"
            )
        return self

    def settings(self) -> tuple[Settings, ...]:
        """What each candidate changes in recipe.policy, in order; of a grid the last setting varies fastest."""
        if self.policy is None:
            return tuple(self.candidates or ())
        return tuple(dict(zip(self.policy, values, strict=True)) for values in product(*self.policy.values()))


def candidates(recipe: Recipe) -> tuple[Recipe, ...]:
    """The recipe of each candidate; where nothing is swept, the recipe itself.

    A setting that still has its default takes the default of the candidate's own method, loss and adapters. Raises
    ValidationError, naming the setting and its value, for a combination that is no recipe or that is listed twice.
    """
    if (sweep := recipe.sweep) is None:
        return (recipe,)
    found: list[Recipe] = []
    for number, settings in enumerate(sweep.settings()):
        one = _candidate(recipe, number, settings)
        if (policies := [other.policy for other in found]) and one.policy in policies:
            raise _twins(sweep, policies.index(one.policy), number)
        found.append(one)
    return tuple(found)


def evaluated(recipe: Recipe) -> tuple[int, ...]:
    """The numbers of the candidates that the run evaluates: all of them, unless it measures one again."""
    if recipe.evaluate.candidate is not None:
        return (recipe.evaluate.candidate,)
    return tuple(range(len(candidates(recipe))))


def _candidate(recipe: Recipe, number: int, settings: Settings) -> Recipe:
    policy = _stated(recipe, settings)
    for name, value in settings.items():
        policy = _with(policy, name.split("."), value)
    content = recipe.model_dump(mode="json", exclude={"sweep"}) | {"policy": policy}
    content["evaluate"]["candidate"] = None
    try:
        return type(recipe).model_validate(content)
    except ValidationError as error:
        raise _refused(recipe, number, settings, error) from error


def _stated(recipe: Recipe, settings: Settings) -> dict[str, Any]:
    """The recipe's own policy without what is there by default; nothing of it for a method of another kind."""
    policy = recipe.policy.model_dump(mode="json")
    if (settings.get("method", policy["method"]) == "dpo") != (policy["method"] == "dpo"):
        return {}
    deciding = {name: policy[name] for name in _DECIDES_DEFAULTS if name in policy}
    default = type(recipe.policy).model_validate(deciding).model_dump(mode="json")
    return {name: value for name, value in policy.items() if name in deciding or value != default[name]}


def _with(part: Mapping[str, Any] | None, path: Sequence[str], value: JsonValue) -> dict[str, Any]:
    name, *rest = path
    known = dict(part) if isinstance(part, Mapping) else {}
    return known | {name: _with(known.get(name), rest, value) if rest else value}


def _refused(recipe: Recipe, number: int, settings: Settings, error: ValidationError) -> ValidationError:
    """What is wrong with a candidate, at the setting that made it so."""
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    name = next((name for name in settings if _names(place, name)), next(reversed(settings), None))
    given = "this" if name is None else repr(settings[name])
    return _error(recipe.sweep, number, name, f"{given} makes candidate {number} no recipe: {first['msg']}")


def _names(place: str, setting: str) -> bool:
    return f".{place}.".endswith(f".{setting}.") or f".{setting}." in f".{place}."


def _twins(sweep: SweepConfig, one: int, other: int) -> ValidationError:
    detail = f"candidates {one} and {other} train the same policy: list every combination once"
    return _error(sweep, other, next(iter(sweep.settings()[other]), None), detail)


def _error(sweep: SweepConfig | None, number: int, name: str | None, detail: str) -> ValidationError:
    """At one setting of a candidate, or at the candidate where it has none."""
    listed = sweep is not None and sweep.candidates is not None
    place: tuple[str | int, ...] = ("candidates", number) if listed else ("policy",)
    place += () if name is None else (name,)
    value = None if sweep is None or name is None else sweep.settings()[number][name]
    kind = PydanticCustomError("sweep_candidate", "{detail}", {"detail": detail})
    return ValidationError.from_exception_data(
        "Recipe", [InitErrorDetails(type=kind, loc=("sweep", *place), input=value)]
    )
