"""What people said of a prompt's candidates, by the candidates' places."""

from __future__ import annotations

from app.repositories.prompts import PromptRow


def labelled_places(prompt: PromptRow) -> set[tuple[int, int]]:
    """The (first, second) places of candidates that carry a label."""
    return {(stated["first"], stated["second"]) for stated in prompt.preferences}
