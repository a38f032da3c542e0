"""How the server that several hosts count on is reached, by TLS if its URL says so."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import valkey.asyncio

_WITH_TLS = ("valkeys", "rediss")


def tls_options(url: str) -> dict[str, Any]:
    """What a client needs beside ``url``, whose query may say otherwise.

    The library checks by default who has signed the server's certificate, but not for whom.
    """
    return {"ssl_check_hostname": True} if urlsplit(url).scheme in _WITH_TLS else {}


def make_client(url: str, *, seconds: float, connections: int) -> valkey.asyncio.Valkey:
    """One that waits ``seconds`` at most, for a connection and for an answer."""
    pool = valkey.asyncio.BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=seconds,  # for one to be free; the plain pool has no patience
        socket_connect_timeout=seconds,
        socket_timeout=seconds,
        **tls_options(url),
    )
    if tls_options(url):
        _share_context(pool)
    client: valkey.asyncio.Valkey = valkey.asyncio.Valkey.from_pool(pool)
    return client


def _share_context(pool: valkey.asyncio.ConnectionPool) -> None:
    """Read the authorities once: that takes 20 ms, in which the loop stands still."""
    context = valkey.asyncio.SSLConnection(**pool.connection_kwargs).ssl_context

    class Connection(valkey.asyncio.SSLConnection):
        def __init__(self, **settings: Any) -> None:
            super().__init__(**settings)
            self.ssl_context = context

    pool.connection_class = Connection
