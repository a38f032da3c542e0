"""The way to SageMaker: refused, gone stale, misnamed, or to somebody else."""

import asyncio
import os
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from proxy import certificates
from tests.emulator.background import BackgroundLoop
from tests.emulator.emulator import Emulator
from tests.integration.conftest import QUICK
from tests.integration.forwarding import Way
from tests.integration.inspecting import wait_until
from tests.integration.running import RunningProxy
from tests.integration.scraping import Scrape, scrape

CALLERS = 16
CHAT = {"model": "demo-chat", "messages": [{"role": "user", "content": "hello"}]}

# Silence is no part of these tests, and a machine may be slow.
SETTINGS = QUICK.replace("read_timeout_seconds = 2\n", "read_timeout_seconds = 30\n")

# What comes of a call that fails comes long before this.
IN_TIME_SECONDS = 40


@pytest.fixture(scope="module")
def proxy(emulator: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningProxy]:
    directory = tmp_path_factory.mktemp("proxy")
    with RunningProxy(directory, emulator.environment(), SETTINGS) as proxy:
        yield proxy


def ask(proxy: RunningProxy, model: str = "demo-chat", *, stream: bool = False) -> str:
    """The status of a call; of a stream with a failure in it, its code as well."""
    began = time.monotonic()
    with proxy.session() as session:
        answer = session.post(
            f"{proxy.url}/v1/chat/completions",
            json={**CHAT, "model": model, "stream": stream},
            timeout=2 * IN_TIME_SECONDS,
        )
    assert time.monotonic() - began < IN_TIME_SECONDS
    if stream and answer.status_code == 200 and "data: [DONE]" not in answer.text:
        return "200 upstream_error" if '"upstream_error"' in answer.text else answer.text
    return str(answer.status_code)


def ask_all(proxy: RunningProxy, model: str, *, stream: bool) -> list[str]:
    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(lambda _: ask(proxy, model, stream=stream), range(CALLERS)))


def retries(found: Scrape) -> float:
    return found.value("upstream_retries_total", reason="connection")


def failures(found: Scrape) -> float:
    return found.value("upstream_requests_total", status="failed")


class TestStaleConnections:
    @pytest.mark.parametrize(
        ("reset", "stream"), [(False, True), (True, False)], ids=["closed-streamed", "reset-whole"]
    )
    def test_all_at_once_cost_no_answer(
        self, proxy: RunningProxy, emulator: Emulator, reset: bool, stream: bool
    ) -> None:
        # The answers take so long that each call has a connection of its own.
        assert ask_all(proxy, "slow-chat", stream=stream) == ["200"] * CALLERS
        before = failures(scrape(proxy))
        assert emulator.drop_connections(reset=reset) > CALLERS / 2
        assert ask_all(proxy, "slow-chat", stream=stream) == ["200"] * CALLERS
        assert failures(scrape(proxy)) == before

    def test_only_those_in_use_cost_theirs(self, proxy: RunningProxy, emulator: Emulator) -> None:
        assert ask_all(proxy, "slow-chat", stream=True) == ["200"] * CALLERS
        emulator.set_fault("demo-echo", "slow_first_byte", seconds=60)
        with ThreadPoolExecutor(2) as pool, proxy.session() as session:
            url = f"{proxy.url}/endpoints/demo-echo/invocations"
            reached = len(emulator.calls("demo-echo"))
            waiting = pool.submit(session.post, url, data=b"x", timeout=60)
            wait_until(lambda: len(emulator.calls("demo-echo")) > reached, "it is not called")
            emulator.drop_connections()
            assert ask_all(proxy, "slow-chat", stream=False) == ["200"] * CALLERS
            assert waiting.result().status_code == 502


def test_a_large_request_that_is_reset_on_its_way_is_502(
    session: requests.Session, proxy: RunningProxy, emulator: Emulator
) -> None:
    emulator.set_fault("demo-echo", "reset_in_request")
    url = f"{proxy.url}/endpoints/demo-echo/invocations"
    assert session.post(url, data=bytes(4_000_000), timeout=60).status_code == 502
    assert session.post(url, data=b"x", timeout=60).status_code == 200


def test_a_way_that_is_refused_is_tried_again_then_told_and_taken_when_it_is_open(
    emulator: Emulator, tmp_path: Path
) -> None:
    with Way(emulator.runtime_url) as way:
        environ = emulator.environment() | {"AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": way.url}
        with RunningProxy(tmp_path, environ, SETTINGS) as proxy:
            assert ask(proxy) == "200"
            way.refuse()
            for stream in (False, True):
                before = scrape(proxy)
                assert ask(proxy, stream=stream) == "502"
                assert retries(scrape(proxy)) == retries(before) + 2, "as configured"
            way.open()
            assert ask(proxy) == "200"


class Impostor:
    """Speaks TLS with whatever certificate it is given, and answers everything with 200."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.context = context
        self.requests = 0
        self._loop = BackgroundLoop("impostor")

    def __enter__(self) -> "Impostor":
        self._loop.start()
        starting = asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self.context)
        self._server = self._loop.submit(starting).result()
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.submit(self._stop()).result()
        self._loop.stop()

    async def _stop(self) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readline():
            self.requests += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
            await writer.drain()
        writer.close()


@pytest.mark.parametrize(
    ("host", "days", "trusted", "reason"),
    [
        ("localhost", 9, False, "self-signed certificate"),
        ("localhost", 0, True, "certificate has expired"),
        ("other.example.com", 9, True, "Hostname mismatch"),
    ],
    ids=["unknown", "expired", "of_another"],
)
def test_a_certificate_that_is_not_right_is_told_at_once_and_nothing_is_sent(
    emulator: Emulator, tmp_path: Path, host: str, days: int, trusted: bool, reason: str
) -> None:
    pair = certificates.create(tmp_path / "its", [host], days)
    other = certificates.create(tmp_path / "other", ["localhost"])
    with Impostor(pair.ssl_context()) as impostor:
        environ = emulator.environment() | {
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": f"https://localhost:{impostor.port}",
            "AWS_CA_BUNDLE": str((pair if trusted else other).certificate),
        }
        with RunningProxy(tmp_path, environ, SETTINGS) as proxy:
            before = scrape(proxy)
            assert ask(proxy) == "502"
            entry = proxy.wait_for_log(lambda entry: "SSLCert" in entry["message"])
            assert reason in entry["message"]
            after = scrape(proxy)
            assert (failures(after), retries(after)) == (failures(before) + 1, retries(before))
        assert impostor.requests == 0


NAME = "runtime.sagemaker.example"


@pytest.fixture
def names(tmp_path: Path) -> tuple[list[str], Callable[[str], None]]:
    """What runs a process in whose eyes only certain hosts have a name, and what names them."""
    hosts, resolver = tmp_path / "hosts", tmp_path / "resolv.conf"

    def name(line: str) -> None:
        hosts.write_text(f"127.0.0.1 localhost\n{line}\n")

    name("")
    resolver.write_text("nameserver 127.0.0.77\noptions timeout:1 attempts:1\n")  # nobody is there
    script = (
        f'mount --bind {hosts} /etc/hosts && mount --bind {resolver} /etc/resolv.conf && exec "$@"'
    )
    within = ["unshare", "--mount", "sh", "-c", script, "sh"]
    if os.geteuid() != 0 or not shutil.which("unshare"):
        pytest.skip("names of one's own need root and unshare")
    tried = subprocess.run([*within, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"names of one's own need namespaces: {tried.stderr.strip()}")
    return within, name


def test_a_name_that_is_not_found_is_told_and_taken_when_it_is(
    emulator: Emulator, tmp_path: Path, names: tuple[list[str], Callable[[str], None]]
) -> None:
    within, name = names
    url = f"http://{NAME}:{urlsplit(emulator.runtime_url).port}"
    environ = emulator.environment() | {"AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": url}
    with RunningProxy(tmp_path, environ, SETTINGS, within=within) as proxy:
        before = scrape(proxy)
        assert ask(proxy) == "502"
        assert retries(scrape(proxy)) == retries(before) + 2, "it may be back in a moment"
        proxy.wait_for_log(lambda entry: "gaierror" in entry["message"])
        name(f"127.0.0.1 {NAME}")
        assert ask(proxy) == "200"
