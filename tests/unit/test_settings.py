"""What a deployment may say: what cannot be meant is refused when it starts."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from app.config import Settings

URL = "postgresql+psycopg://u@h/d"


def test_a_network_that_is_none_is_refused_at_the_start() -> None:
    with pytest.raises(ValidationError, match=r"10\.0\.0\.0/99"):
        Settings(database_url=URL, private_networks="127.0.0.0/8, 10.0.0.0/99")


def test_networks_are_read() -> None:
    found = Settings(database_url=URL, private_networks="127.0.0.0/8, 10.0.0.0/8").allowed_networks()
    assert [str(network) for network in found] == ["127.0.0.0/8", "10.0.0.0/8"]
