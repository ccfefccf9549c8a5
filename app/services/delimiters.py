"""The key from which delimiters in questions to judges are drawn; the API needs it to show a question as it was put."""

from __future__ import annotations

import hashlib
import hmac

from sqlalchemy.orm import Session

from app.config import Settings
from app.db.models import DeploymentKey

_NAME = "delimiters"


def delimiter_key(session: Session, settings: Settings) -> bytes:
    """What makes delimiters unpredictable to whoever wrote the responses, and equal questions equal in every run.

    Of the server's secret; where it has none, the deployment's own random key, which its first migration made.
    """
    if settings.secret_key is None:
        return session.get_one(DeploymentKey, _NAME).value
    return hmac.digest(settings.secret_key.get_secret_value().encode(), _NAME.encode(), hashlib.sha256)
