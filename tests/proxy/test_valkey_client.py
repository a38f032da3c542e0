"""A server of the limits that speaks TLS is believed only if it shows who it is."""

import asyncio
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from valkey.asyncio import Valkey
from valkey.exceptions import ConnectionError as Refused

from proxy.checks.backend import check_backend
from proxy.checks.finding import Verdict
from proxy.config import LimitsConfig
from proxy.valkey_client import make_client
from tests.integration.shared_counts import CountsServer
from tests.testhost.authority import Authority

_SECONDS = 30.0
_CONNECTIONS = 8


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Path]:
    """One that is trusted, and the file that says so."""
    authority = Authority("The server's")
    path = tmp_path_factory.mktemp("authority") / "authority.pem"
    path.write_bytes(authority.certificate)
    return authority, path


@pytest.fixture(scope="module")
def server(
    authority: tuple[Authority, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[CountsServer]:
    with CountsServer(tmp_path_factory.mktemp("counts"), authority[0].issue("127.0.0.1")) as server:
        yield server


def client(url: str) -> Valkey:
    return make_client(url, seconds=_SECONDS, connections=_CONNECTIONS)


async def test_one_that_an_authority_answers_for_is_talked_to(
    server: CountsServer, authority: tuple[Authority, Path]
) -> None:
    url = f"{server.url}?ssl_ca_certs={authority[1]}"
    async with client(url) as talking:
        assert await talking.ping()
    assert check_backend(LimitsConfig(backend=url))[0].verdict is Verdict.OK


async def test_as_any_program_on_the_machine_trusts_if_nothing_is_said(
    server: CountsServer, authority: tuple[Authority, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority[1]))
    async with client(server.url) as talking:
        assert await talking.ping()


async def test_one_that_nobody_answers_for_is_not(server: CountsServer) -> None:
    async with client(server.url) as talking:
        with pytest.raises(Refused, match="certificate verify failed"):
            await talking.ping()
    assert "verify failed" in check_backend(LimitsConfig(backend=server.url))[0].found


async def test_nor_is_one_that_passes_for_another(
    authority: tuple[Authority, Path], tmp_path: Path
) -> None:
    with CountsServer(tmp_path, authority[0].issue("another.example.com")) as server:
        url = f"{server.url}?ssl_ca_certs={authority[1]}"
        async with client(url) as talking:
            with pytest.raises(Refused, match="mismatch"):
                await talking.ping()
        assert "mismatch" in check_backend(LimitsConfig(backend=url))[0].found
        async with client(f"{url}&ssl_check_hostname=false") as talking:
            assert await talking.ping()


async def test_more_at_once_than_there_are_connections_wait_for_one(
    server: CountsServer, authority: tuple[Authority, Path]
) -> None:
    async with client(f"{server.url}?ssl_ca_certs={authority[1]}") as talking:
        asked = [talking.incr("asked") for _ in range(10 * _CONNECTIONS)]
        assert max(await asyncio.gather(*asked)) == 10 * _CONNECTIONS
        listed = await talking.client_list()
    assert len(listed) <= _CONNECTIONS


async def test_the_authorities_are_read_once_for_all_connections(
    server: CountsServer, authority: tuple[Authority, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = []
    make = ssl.create_default_context

    def counted() -> ssl.SSLContext:
        contexts.append(make())
        return contexts[-1]

    monkeypatch.setattr(ssl, "create_default_context", counted)
    async with client(f"{server.url}?ssl_ca_certs={authority[1]}") as talking:
        pool = talking.connection_pool
        take = pool.get_connection
        connections = [await take("PING") for _ in range(_CONNECTIONS)]  # type: ignore[no-untyped-call]
        for connection in connections:
            assert connection.is_connected
            await pool.release(connection)
    assert len(contexts) == 1
