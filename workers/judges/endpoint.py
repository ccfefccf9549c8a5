"""One call to a provider's endpoint, and what became of it. Never follows a redirect, never logs the key."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import Any

import aiohttp
from aiohttp.abc import ResolveResult
from pydantic import ValidationError

from app.addresses import AddressRefused, Network, is_plain, require_allowed, require_private
from app.rlaif.comparison import InvalidReason
from workers.judges.dialect import Dialect, Exchanged
from workers.judges.protocol import JudgeMisconfigured

MAX_REPLY_BYTES = 1 << 20
CONNECT_TIMEOUT_S = 10.0
_EXCERPT = 500
_DOWN = frozenset({502, 503, 504, 529})
_OVERLOADED = frozenset({503, 529})
_REMEDIES = dict.fromkeys((401, 403, 404, 405), "check the judge's base_url, model and secret")
_REMEDIES[402] = "pay at the provider, or name another secret, then :retry"
_FILTERED = (b"content_filter", b"content_policy_violation", b"ResponsibleAIPolicyViolation")
_TOO_LONG = (b"context_length_exceeded", b"maximum context length")
_TRANSIENT = frozenset({408, 409, 425, 429})


@dataclass(frozen=True, slots=True)
class CallFailed:
    """A call without a usable reply.

    `transient`: asking again may help. `down`: the endpoint itself was not reached. `connected` is False when not
    even a connection was made, so nothing was said about the question. `refused`: too soon after other calls (429);
    `strained`: the endpoint is overloaded, or did not reply in time.
    """

    reason: InvalidReason
    detail: str
    transient: bool = True
    down: bool = False
    connected: bool = True
    refused: bool = False
    strained: bool = False
    retry_after_s: float | None = None


class CheckedResolver(aiohttp.ThreadedResolver):
    """Resolves a name for the very connection that is opened, and refuses what must not be called.

    An address checked earlier may have changed since (DNS rebinding); the one that is checked here is the one used.
    """

    def __init__(self, private_networks: Sequence[Network], *, sends_key_in_clear: bool) -> None:
        super().__init__()
        self._private_networks = private_networks
        self._sends_key_in_clear = sends_key_in_clear

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Raises JudgeMisconfigured for a name that leads to an address that is not allowed."""
        found = await super().resolve(host, port, family)
        addresses = [ip_address(entry["host"].partition("%")[0]) for entry in found]
        try:
            require_allowed(host, addresses, private_networks=self._private_networks)
            if self._sends_key_in_clear:
                require_private(host, addresses, private_networks=self._private_networks)
        except AddressRefused as error:
            raise JudgeMisconfigured(str(error)) from error
        return found


class Endpoint:
    """`POST` to one path of a provider's API, with a bound on time, size and connections.

    A host given as an address is connected to as it is: whoever builds the judge has checked it.
    """

    def __init__(
        self,
        base_url: str,
        dialect: Dialect,
        *,
        api_key: str | None,
        connections: int,
        private_networks: Sequence[Network],
    ) -> None:
        self._private_networks = private_networks
        self._dialect = dialect
        self._url = f"{base_url}{dialect.path}"
        self._api_key = api_key
        self._connections = connections
        self._session: aiohttp.ClientSession | None = None

    async def call(self, payload: Mapping[str, Any], *, timeout_s: float) -> Exchanged | CallFailed:
        """Raises JudgeMisconfigured for an answer that every other question would get as well."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(payload)
        except aiohttp.ClientConnectorCertificateError as error:
            raise JudgeMisconfigured(f"{self._url}: its certificate is not valid: {error}") from error
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            return CallFailed(
                InvalidReason.SERVER, self.redacted(f"no connection: {error}"), down=True, connected=False
            )
        except TimeoutError:
            return CallFailed(InvalidReason.TIMEOUT, f"no complete reply within {timeout_s:g} s", strained=True)
        except aiohttp.ClientError as error:
            return CallFailed(InvalidReason.SERVER, self.redacted(f"{type(error).__name__}: {error}"))

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    def redacted(self, text: str) -> str:
        """The text without the key, should an endpoint have repeated it."""
        return text.replace(self._api_key, "[redacted]") if self._api_key else text

    async def _exchange(self, payload: Mapping[str, Any]) -> Exchanged | CallFailed:
        async with self._opened().post(self._url, json=payload, allow_redirects=False) as response:
            body = await _capped(response)
            if response.status != 200:
                return self._refused(response, body)
            if len(body) > MAX_REPLY_BYTES:
                return CallFailed(InvalidReason.SERVER, f"the reply is larger than {MAX_REPLY_BYTES} bytes")
            return self._read(body)

    def _read(self, body: bytes) -> Exchanged | CallFailed:
        try:
            return self._dialect.read(body)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False, include_context=False)[0]
            place = ".".join(str(part) for part in first["loc"]) or "the reply"
            detail = f"not a chat completion ({place}: {first['msg']}): {_excerpt(body)}"
            return CallFailed(InvalidReason.SERVER, self.redacted(detail))

    def _refused(self, response: aiohttp.ClientResponse, body: bytes) -> CallFailed:
        detail = self.redacted(f"HTTP {response.status}: {_excerpt(body)}")
        if 300 <= response.status < 400:
            raise JudgeMisconfigured(f"{self._url} redirects, which is never followed: set base_url to its target")
        if remedy := _REMEDIES.get(response.status):
            raise JudgeMisconfigured(f"{self._url}: {detail}: {remedy}")
        return CallFailed(
            _about_the_question(body) if response.status == 400 else InvalidReason.SERVER,
            detail,
            transient=response.status >= 500 or response.status in _TRANSIENT,
            down=response.status in _DOWN,
            refused=response.status == 429,
            strained=response.status in _OVERLOADED,
            retry_after_s=retry_after(response.headers.get("Retry-After"), now=datetime.now(UTC)),
        )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            in_clear = bool(self._api_key) and is_plain(self._url)
            resolver = CheckedResolver(self._private_networks, sends_key_in_clear=in_clear)
            self._session = aiohttp.ClientSession(
                headers=self._dialect.headers(self._api_key),
                connector=aiohttp.TCPConnector(limit=self._connections, resolver=resolver),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
                json_serialize=json.dumps,
            )
        return self._session


def retry_after(value: str | None, *, now: datetime) -> float | None:
    """Seconds that a Retry-After header asks for, given as seconds or as a date (RFC 9110, section 10.2.3)."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value.strip()[:9])
    try:
        date = parsedate_to_datetime(value)
    except ValueError:
        return None
    return max((date.replace(tzinfo=date.tzinfo or UTC) - now).total_seconds(), 0.0)


async def _capped(response: aiohttp.ClientResponse) -> bytes:
    """The body, read no further than just beyond the cap."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > MAX_REPLY_BYTES:
            response.close()
            break
    return bytes(body)


def _about_the_question(body: bytes) -> InvalidReason:
    """Why a request is bad (400): a provider may refuse a text, or one that is too long, before a model reads it."""
    if any(code in body for code in _FILTERED):
        return InvalidReason.REFUSAL
    return InvalidReason.TRUNCATED if any(words in body for words in _TOO_LONG) else InvalidReason.SERVER


def _excerpt(body: bytes) -> str:
    return body[:_EXCERPT].decode("utf-8", "replace")
