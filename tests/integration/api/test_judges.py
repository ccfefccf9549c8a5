"""Judges: refused at registration when their address, secret or model could not be used."""

from __future__ import annotations

import socket
from typing import Any

import httpx
import pytest

from tests.live_api import LiveApi


def endpoint(base_url: str = "https://8.8.8.8/v1", **fields: Any) -> dict[str, Any]:
    return {"kind": "openai", "family": "gpt", "base_url": base_url, "model": "m", **fields}


def create(client: httpx.Client, spec: dict[str, Any], name: str = "judge") -> httpx.Response:
    return client.post("/v1/judges", json={"name": name, "spec": spec})


class TestJudges:
    def test_a_checks_judge(self, client: httpx.Client) -> None:
        answer = create(client, {"kind": "checks"})
        assert (answer.status_code, answer.json()["family"]) == (201, "checks")
        assert client.get(answer.headers["Location"]).json() == answer.json()
        assert client.get("/v1/judges").json()["data"] == [answer.json()]

    def test_a_local_judge_needs_a_registered_model(self, client: httpx.Client) -> None:
        model = client.post("/v1/models", json={"name": "m", "source": "local:base_model"}).json()
        answer = create(client, {"kind": "local", "family": "llama", "model": model["id"]})
        assert (answer.status_code, answer.json()["model_id"]) == (201, model["id"])
        absent = create(client, {"kind": "local", "family": "llama", "model": "model_x"}, "other")
        assert (absent.status_code, absent.json()["code"]) == (404, "not_found")

    def test_another_projects_model_does_not_exist(self, api: LiveApi, client: httpx.Client) -> None:
        model = client.post("/v1/models", json={"name": "m", "source": "local:base_model"}).json()
        stranger = api.client(api.project())
        assert create(stranger, {"kind": "local", "family": "llama", "model": model["id"]}).status_code == 404

    def test_an_unknown_field_is_named(self, client: httpx.Client) -> None:
        answer = create(client, endpoint(temprature=0.5))
        assert (answer.status_code, answer.json()["field"]) == (422, "spec.temprature")

    def test_an_unknown_kind(self, client: httpx.Client) -> None:
        assert create(client, {"kind": "oracle"}).json()["field"] == "spec"


class TestAnthropic:
    def test_address_and_version_have_defaults(self, client: httpx.Client) -> None:
        answer = create(
            client, {"kind": "anthropic", "family": "claude", "base_url": "https://8.8.8.8/v1", "model": "m"}
        )
        assert answer.status_code == 201, answer.text
        assert answer.json()["spec"]["version"] == "2023-06-01"

    def test_its_secret_is_bound_to_its_host_and_its_address_checked(self, client: httpx.Client) -> None:
        client.post("/v1/secrets", json={"name": "key", "host": "api.anthropic.com", "value": "sk-1"})
        spec = {"kind": "anthropic", "family": "claude", "model": "m", "secret": "key"}
        elsewhere = create(client, {**spec, "base_url": "https://8.8.8.8/v1"})
        assert (elsewhere.status_code, elsewhere.json()["code"]) == (409, "secret_host_mismatch")
        inside = create(client, {**spec, "base_url": "https://127.0.0.1/v1"})
        assert (inside.status_code, inside.json()["code"]) == (422, "judge_address_refused")

    def test_it_gives_no_log_probabilities(self, client: httpx.Client) -> None:
        spec = {
            "kind": "anthropic",
            "family": "claude",
            "base_url": "https://8.8.8.8/v1",
            "model": "m",
            "top_logprobs": 5,
        }
        assert create(client, spec).json()["field"] == "spec.top_logprobs"


class TestRewardModel:
    @pytest.mark.parametrize("checkpoint", ["checkpoint_01m7xk5mgzeyva4mageqj2tqtk", "x"])
    def test_needs_a_checkpoint(self, client: httpx.Client, checkpoint: str) -> None:
        answer = create(client, {"kind": "reward_model", "family": "qwen", "checkpoint": checkpoint})
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


class TestSecretBinding:
    def test_a_secret_is_used_for_its_own_host_only(self, client: httpx.Client) -> None:
        client.post("/v1/secrets", json={"name": "key", "host": "api.example.org", "value": "sk-1"})
        assert create(client, endpoint("https://api.example.org/v1", secret="key")).status_code == 201
        for other in ("https://evil.example/v1", "https://api.example.org.evil.example/v1"):
            answer = create(client, endpoint(other, secret="key"), "other")
            assert (answer.status_code, answer.json()["code"]) == (409, "secret_host_mismatch")

    def test_a_secret_is_not_sent_in_plain_text_but_in_the_operators_networks(self, client: httpx.Client) -> None:
        for name, host in (("public", "8.8.8.8"), ("own", "10.99.1.2")):
            client.post("/v1/secrets", json={"name": name, "host": host, "value": "sk-1"})
        answer = create(client, endpoint("http://8.8.8.8/v1", secret="public"))
        assert (answer.status_code, answer.json()["field"]) == (422, "spec.base_url")
        assert "use https" in answer.json()["detail"]
        assert create(client, endpoint("https://8.8.8.8/v1", secret="public"), "https").status_code == 201
        assert create(client, endpoint("http://8.8.8.8/v1"), "no secret").status_code == 201
        assert create(client, endpoint("http://10.99.1.2:8000/v1", secret="own"), "own").status_code == 201

    def test_an_unknown_secret(self, client: httpx.Client) -> None:
        answer = create(client, endpoint(secret="nothing"))
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")

    def test_another_projects_secret_does_not_exist(self, api: LiveApi, client: httpx.Client) -> None:
        client.post("/v1/secrets", json={"name": "key", "host": "8.8.8.8", "value": "sk-1"})
        assert create(api.client(api.project()), endpoint(secret="key")).status_code == 404


PRIVATE = [
    "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "localhost", "localhost.", "a.localhost",
    "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "192.0.2.1", "224.0.0.1", "[::1]", "[::]",
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "[fd00::1]", "[fe80::1]",
]  # fmt: skip


class TestAddresses:
    @pytest.mark.parametrize("host", PRIVATE)
    def test_a_private_address_in_any_spelling(self, client: httpx.Client, host: str) -> None:
        answer = create(client, endpoint(f"http://{host}:8000/v1"))
        assert (answer.status_code, answer.json()["code"]) == (422, "judge_address_refused")
        assert answer.json()["field"] == "spec.base_url"
        assert client.get("/v1/judges").json()["data"] == []

    def test_a_name_that_resolves_to_a_private_address(
        self, client: httpx.Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = socket.getaddrinfo

        def resolver(host: Any, *args: Any, **kwargs: Any) -> Any:
            return real("127.0.0.1" if host == "rebound.example" else host, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", resolver)
        assert create(client, endpoint("https://rebound.example/v1")).json()["code"] == "judge_address_refused"

    def test_the_operator_may_allow_a_network(self, client: httpx.Client) -> None:
        assert create(client, endpoint("http://10.99.1.2:8000/v1")).status_code == 201
        assert create(client, endpoint("http://[::ffff:10.99.1.2]:8000/v1"), "mapped").status_code == 201

    @pytest.mark.parametrize(
        "url",
        ["file:///etc/passwd", "https://user:pw@8.8.8.8/v1", "https:///v1", "https://1.1.1.1:99999/v1",
         "https://1.1.1.1/v1?x=1", "ftp://1.1.1.1/v1"],
    )  # fmt: skip
    def test_what_is_no_endpoint(self, client: httpx.Client, url: str) -> None:
        answer = create(client, endpoint(url))
        assert (answer.status_code, answer.json()["field"]) == (422, "spec.base_url")
