"""The stored OpenAPI document: `python -m tests.contracts.openapi --write` renews it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from app.config import Settings
from app.main import create_app

STORED = Path(__file__).with_name("openapi.json")
RENEW = "python -m tests.contracts.openapi --write"


def current() -> str:
    """The document of the code as it stands, as it is stored."""
    spec: dict[str, Any] = create_app(Settings(database_url="postgresql+psycopg://nobody@/nothing")).openapi()
    return json.dumps(spec, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main() -> int:
    if "--write" in sys.argv:
        STORED.write_text(current())
        return 0
    if STORED.read_text() == current():
        return 0
    sys.stderr.write(f"{STORED.name} is not the document of the code: run `{RENEW}` and read the difference\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
