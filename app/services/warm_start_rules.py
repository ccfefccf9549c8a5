"""What must hold of a warm start before anything is spent on it: there is something to learn from, or to go by."""

from __future__ import annotations

from sqlalchemy.orm import Session

from app.db.models import Judge, PromptSet, RubricRevision
from app.errors import InvalidInput
from app.repositories import judges, run_parts
from app.rlaif.recipe import Recipe
from app.rlaif.rubric import Rubric
from app.rlaif.warm_start import ConstitutionalConfig, Demonstrations, DemonstrationsConfig

ENDPOINTS = ("openai", "anthropic")


class WarmStartRefused(InvalidInput):
    """Raised when a run's parts give its warm start nothing to learn from."""


def require_teachable(
    session: Session, recipe: Recipe, *, prompt_set: PromptSet, rubric: RubricRevision | None
) -> None:
    """Raises WarmStartRefused."""
    config = recipe.warm_start
    if config is None:
        return
    if isinstance(config, DemonstrationsConfig):
        _require_demonstrations(session, prompt_set, config.demonstrations)
    else:
        _require_principles(rubric)
        critic_of(session, recipe, project_id=prompt_set.project_id)


def critic_of(session: Session, recipe: Recipe, *, project_id: str) -> Judge | None:
    """The judge whose endpoint criticises, where one is named. Raises WarmStartRefused."""
    config = recipe.warm_start
    if not isinstance(config, ConstitutionalConfig) or config.critic is None:
        return None
    found = judges.get(session, project_id, config.critic)
    if found is None or found.kind not in ENDPOINTS:
        what = "is no judge of this project" if found is None else f"is of kind {found.kind!r}, which writes no text"
        raise WarmStartRefused(
            f"recipe.warm_start.critic {config.critic!r} {what}: name a judge of kind {' or '.join(ENDPOINTS)}, or "
            "leave it out and the base model criticises itself",
            field="recipe.warm_start.critic",
        )
    return found


def _require_demonstrations(session: Session, prompt_set: PromptSet, wanted: Demonstrations) -> None:
    referenced = wanted is not Demonstrations.PREFERRED and run_parts.has_references(session, prompt_set.id)
    if referenced or (wanted is not Demonstrations.REFERENCE and run_parts.has_preferences(session, prompt_set.id)):
        return
    missing = {
        Demonstrations.REFERENCE: "a reference: add `reference` to the prompts",
        Demonstrations.PREFERRED: "preferences between candidates: add `candidates` and `preferences` to the prompts",
        Demonstrations.EITHER: "a reference or preferences: add `reference`, or `candidates` and `preferences`",
    }
    raise WarmStartRefused(
        f"recipe.warm_start learns the prompts' own answers, and no train prompt of {prompt_set.id!r} has "
        f"{missing[wanted]}, choose other demonstrations, or use method 'constitutional'",
        field="recipe.warm_start.demonstrations",
    )


def _require_principles(rubric: RubricRevision | None) -> None:
    if rubric is None:
        raise WarmStartRefused(
            "recipe.warm_start revises answers by a rubric's principles: name a rubric or send one inline",
            field="rubric",
        )
    if not Rubric.model_validate(rubric.content).principles:
        raise WarmStartRefused(
            f"recipe.warm_start revises answers by principles, and rubric revision {rubric.id!r} has none: add "
            "`principles` to the rubric, or use method 'sft'",
            field="rubric",
        )
