"""The address of the connection itself is checked, whatever the name pointed to before (DNS rebinding)."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_network
from typing import Any

import pytest

from app.rlaif.judges import AnthropicJudge, OpenAIJudge
from tests.judges.running import PROVIDER
from workers.judges.build import dialect_of
from workers.judges.endpoint import CallFailed, Endpoint
from workers.judges.protocol import JudgeMisconfigured

SPECS: dict[str, OpenAIJudge | AnthropicJudge] = {
    "openai": OpenAIJudge(family="f", base_url="https://api.example.org/v1", model="m"),
    "anthropic": AnthropicJudge(family="f", model="m"),
}


def call(name: str, *, allowed: tuple[str, ...] = (), api_key: str | None = None) -> object:
    async def once() -> object:
        endpoint = Endpoint(
            f"http://{name}:9/v1",
            dialect_of(SPECS[PROVIDER.get()]),
            api_key=api_key,
            connections=1,
            private_networks=[ip_network(network) for network in allowed],
        )
        try:
            return await endpoint.call({}, timeout_s=5.0)
        finally:
            await endpoint.aclose()

    return asyncio.run(once())


@pytest.mark.usefixtures("provider")
@pytest.mark.usefixtures("provider")
class TestRebinding:
    @pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "10.0.0.1", "::1", "::ffff:127.0.0.1"])
    def test_name_that_leads_to_a_private_address_is_not_connected_to(
        self, monkeypatch: pytest.MonkeyPatch, address: str
    ) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", answering(address))
        with pytest.raises(JudgeMisconfigured, match="not public"):
            call("judge.example")

    def test_key_is_not_sent_in_plain_text_to_a_public_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", answering("93.184.215.14"))
        with pytest.raises(JudgeMisconfigured, match="plain text"):
            call("judge.example", api_key="key")

    def test_operators_network_is_connected_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(socket, "getaddrinfo", answering("127.0.0.1"))
        answer = call("judge.example", allowed=("127.0.0.0/8",), api_key="key")
        assert isinstance(answer, CallFailed)
        assert not answer.connected


def answering(address: str) -> Any:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    place = (address, 9, 0, 0) if ":" in address else (address, 9)
    return lambda *_, **__: [(family, socket.SOCK_STREAM, 6, "", place)]
