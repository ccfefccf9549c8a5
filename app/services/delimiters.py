"""The key from which delimiters in questions to judges are drawn; the API needs it to show a question as it was put."""

from __future__ import annotations

import hashlib
import hmac

from app.config import Settings


def delimiter_key(settings: Settings, *, seed: int) -> bytes:
    """What makes delimiters unpredictable to whoever wrote the responses: of the server's secret, so that equal
    questions are equal in every run; of the run's seed where the server has no secret."""
    if settings.secret_key is None:
        return f"delimiters of {seed}".encode()
    return hmac.digest(settings.secret_key.get_secret_value().encode(), b"delimiters", hashlib.sha256)
