"""Start and end: certificates, ports, credentials, and an exit that drops no request."""

import contextlib
import json
import os
import resource
import signal
import socket
import ssl
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import requests

from proxy import certificates
from tests.emulator.containers import chat
from tests.emulator.emulator import Emulator
from tests.emulator.metadata import MetadataService
from tests.integration.conftest import QUICK
from tests.integration.inspecting import wait_until
from tests.integration.raw import RawClient
from tests.integration.running import ROOT, RunningProxy, clean_environment
from tests.integration.scraping import Scrape

CHAT = {
    "model": "steady",
    "messages": [{"role": "user", "content": "hello"}],
    "stream": True,
}


@pytest.fixture(scope="module", autouse=True)
def steady(emulator: Emulator) -> None:
    """A model whose answer takes more than a second."""
    emulator.add_endpoint("steady", chat.application(("steady",), token_delay=0.03))


@pytest.fixture
def own(emulator: Emulator, tmp_path: Path) -> Iterator[RunningProxy]:
    """A proxy that a test may end."""
    with RunningProxy(tmp_path, emulator.environment(), QUICK) as proxy:
        yield proxy


class TestEnd:
    def test_sigterm_lets_streams_finish(self, own: RunningProxy) -> None:
        with own.session() as session, ThreadPoolExecutor(8) as pool:
            answers = [
                session.post(f"{own.url}/v1/chat/completions", json=CHAT, stream=True)
                for _ in range(8)
            ]
            own.process.send_signal(signal.SIGTERM)
            own.wait_for_log(lambda entry: entry["message"] == "draining")
            texts = list(pool.map(lambda answer: answer.text, answers))
        assert all(text.endswith("data: [DONE]\n\n") for text in texts)
        stopped = own.wait_for_log(lambda entry: entry["message"] == "stopped")
        assert stopped["requests_cut"] == 0
        assert own.process.wait(10) == 0

    def test_a_connection_whose_stream_has_ended_is_closed(self, own: RunningProxy) -> None:
        with RawClient(own) as client:
            body = json.dumps(CHAT)
            client.send(
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-API-Key: {own.key}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}"
            )
            assert "connection" not in client.read_head()[1]  # as if it could be used again
            own.process.send_signal(signal.SIGTERM)
            while client.read_chunk():
                pass
            assert client.is_closed()
        assert own.process.wait(10) == 0

    def test_while_it_drains_it_takes_no_new_connection(self, own: RunningProxy) -> None:
        with own.session() as session, RawClient(own) as kept:
            assert kept.request("GET", "/healthz", {}).status == 200
            answer = session.post(f"{own.url}/v1/chat/completions", json=CHAT, stream=True)
            own.process.send_signal(signal.SIGTERM)
            own.wait_for_log(lambda entry: entry["message"] == "draining")
            with pytest.raises(ConnectionError):
                RawClient(own)
            # One that was open is told, and closed after its answer.
            ready = kept.request("GET", "/readyz", {})
            assert ready.status == 503
            assert "shutting down" in str(ready.json()["reasons"])
            assert ready.headers["connection"] == "close"
            assert kept.is_closed()
            assert answer.text.endswith("data: [DONE]\n\n")

    def test_what_takes_longer_than_the_drain_is_cut_and_counted(
        self, emulator: Emulator, tmp_path: Path
    ) -> None:
        config = 'region = "us-east-1"\n[server]\ndrain_seconds = 0.2\n'
        with RunningProxy(tmp_path, emulator.environment(), config) as proxy:
            with proxy.session() as session:
                url = f"{proxy.url}/v1/chat/completions"
                answer = session.post(url, json=CHAT, stream=True)
                proxy.process.send_signal(signal.SIGTERM)
                stopped = proxy.wait_for_log(lambda entry: entry["message"] == "stopped")
                assert stopped["requests_cut"] == 1
                with pytest.raises(requests.exceptions.ChunkedEncodingError):
                    assert answer.text
            assert proxy.process.wait(10) == 0

    def test_a_second_sigterm_ends_it_now(self, own: RunningProxy) -> None:
        with own.session() as session:
            answer = session.post(f"{own.url}/v1/chat/completions", json=CHAT, stream=True)
            own.process.send_signal(signal.SIGTERM)
            own.wait_for_log(lambda entry: entry["message"] == "draining")
            assert own.stop(signal.SIGTERM, timeout=10) == -signal.SIGTERM
            answer.close()

    def test_an_answer_that_is_still_on_its_way_is_taken_to_its_end(
        self, own: RunningProxy
    ) -> None:
        body = b"x" * 20_000_000  # more than the kernel's buffers hold
        with RawClient(own) as slow:
            slow.send(
                f"POST /endpoints/demo-echo/invocations HTTP/1.1\r\nHost: x\r\n"
                f"X-API-Key: {own.key}\r\nContent-Length: {len(body)}\r\n\r\n"
            )
            slow.send(body)
            status, headers = slow.read_head()
            assert (status, headers["content-length"]) == (200, str(len(body)))
            own.process.send_signal(signal.SIGTERM)
            own.wait_for_log(lambda entry: entry["message"] == "draining")
            assert len(slow.read_to_end()) == len(body)
        assert own.process.wait(10) == 0

    def test_a_refused_request_that_never_ends_its_body_does_not_hold_it_up(
        self, own: RunningProxy
    ) -> None:
        with RawClient(own) as raw:
            raw.send("POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf")
            assert raw.read_answer().status == 401
            assert own.stop(timeout=15) == 0

    def test_idle_connections_do_not_hold_it_up(self, own: RunningProxy) -> None:
        with RawClient(own) as idle:
            assert idle.request("GET", "/healthz", {}).status == 200
            assert own.stop(timeout=15) == 0
            assert idle.is_closed()


class TestLeaving:
    def test_it_is_out_of_service_while_marked_and_goes_on_serving_whoever_comes(
        self, emulator: Emulator, tmp_path: Path
    ) -> None:
        mark = tmp_path / "leaving"
        environ = emulator.environment() | {"RUNTIME_DIRECTORY": str(tmp_path)}
        with (
            RunningProxy(tmp_path, environ, QUICK) as proxy,
            RawClient(proxy) as kept,
            proxy.session() as session,
        ):
            mine = {"X-API-Key": proxy.key}
            assert "connection" not in kept.request("GET", "/v1/models", mine).headers
            stream = session.post(f"{proxy.url}/v1/chat/completions", json=CHAT, stream=True)
            mark.touch()

            def ready() -> int:
                with proxy.session() as fresh:
                    return fresh.get(f"{proxy.url}/readyz").status_code

            wait_until(lambda: ready() == 503, "it is not out of service")
            with proxy.session() as fresh:
                reasons = fresh.get(f"{proxy.url}/readyz").json()["reasons"]
                assert reasons == ["the operator has taken it out of service"]
            # A client that came before is served, and told to come anew: elsewhere, by then.
            answer = kept.request("GET", "/v1/models", mine)
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert kept.is_closed()
            assert stream.text.endswith("data: [DONE]\n\n")
            mark.unlink()
            wait_until(lambda: ready() == 200, "it is not in service again")


class TestCertificate:
    def test_the_first_start_makes_one_and_tells_its_fingerprint(self, own: RunningProxy) -> None:
        served = ssl.get_server_certificate(("localhost", own.port))
        assert served == own.certificate.read_text()
        key = own.directory / "private_key.pem"
        assert key.stat().st_mode & 0o777 == 0o600
        pair = certificates.CertificatePair(own.certificate, key)
        assert own.fingerprint == pair.fingerprint()

    def test_the_second_start_uses_it_again(self, emulator: Emulator, tmp_path: Path) -> None:
        with RunningProxy(tmp_path, emulator.environment(), QUICK) as first:
            fingerprint = first.fingerprint
        with RunningProxy(tmp_path, emulator.environment(), QUICK) as second:
            assert second.fingerprint == fingerprint

    def test_one_of_ones_own_is_served(self, emulator: Emulator, tmp_path: Path) -> None:
        pair = certificates.create(tmp_path / "own", ["localhost", "mine.example.com"])
        config = (
            f'region = "us-east-1"\n[server]\ncertificate = "{pair.certificate}"\n'
            f'private_key = "{pair.private_key}"\n'
        )
        with RunningProxy(tmp_path, emulator.environment(), config) as proxy:
            assert proxy.fingerprint == pair.fingerprint()
            assert not proxy.certificate.exists(), "it made one that nobody asked for"

    def test_one_that_is_about_to_end_is_served_and_told_of(
        self, emulator: Emulator, tmp_path: Path
    ) -> None:
        pair = certificates.create(tmp_path / "own", ["localhost"], days=9)
        config = (
            f'region = "us-east-1"\n[server]\ncertificate = "{pair.certificate}"\n'
            f'private_key = "{pair.private_key}"\n'
        )
        with RunningProxy(tmp_path, emulator.environment(), config) as proxy:
            said = "the certificate is about to end"
            wait_until(lambda: said in "".join(proxy.log), "it is not told of")
            answer = requests.get(
                f"{proxy.url}/metrics", headers=proxy.headers, verify=str(pair.certificate)
            )
            told = Scrape(answer.text).value("certificate_expiry_timestamp_seconds")
            assert told == pair.expires()

    def test_without_tls_it_says_so_and_serves_http(
        self, emulator: Emulator, tmp_path: Path
    ) -> None:
        config = 'region = "us-east-1"\n[server]\ntls = false\n'
        with RunningProxy(tmp_path, emulator.environment(), config, host="127.0.0.1") as proxy:
            assert proxy.url == f"http://127.0.0.1:{proxy.port}"
            answer = requests.get(f"{proxy.url}/healthz")
            assert answer.json() == {"status": "ok"}


def test_a_taken_port_is_said_in_one_line(own: RunningProxy, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "proxy", "serve", "--port", str(own.port)],
        cwd=ROOT,
        env=clean_environment(tmp_path) | {"API_KEY": own.key, "REGION_NAME": "us-east-1"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 1
    assert done.stderr == (
        f"sagemaker-proxy: cannot listen on *:{own.port}: Address already in use\n"
    )


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_it_listens_on_every_address(own: RunningProxy, family: socket.AddressFamily) -> None:
    address = "127.0.0.1" if family == socket.AF_INET else "::1"
    try:
        socket.create_server((address, 0), family=family).close()
    except OSError:
        pytest.skip(f"this machine has no {address}")
    session = own.session()
    host = f"[{address}]" if family == socket.AF_INET6 else address
    with session:
        assert session.get(f"https://{host}:{own.port}/healthz").status_code == 200


def test_the_key_is_nowhere_to_be_read(emulator: Emulator, tmp_path: Path) -> None:
    secret = emulator.environment()["AWS_SECRET_ACCESS_KEY"]
    seen: list[str] = []
    with RunningProxy(tmp_path, emulator.environment(), QUICK) as proxy, proxy.session() as session:
        key, url = proxy.key, proxy.url
        for path in ("/", "/list_endpoints", "/v1/models", f"/{key}", f"/v1/models/{key}"):
            seen.append(session.get(f"{url}{path}").text.replace(f"'{key}'", ""))
        for path in ("/v1/chat/completions", f"/v1/chat/completions?api_key={key}"):
            for body in (b"{", b'{"model": "demo-chat"}', b'{"model": "none"}'):
                answer = session.post(f"{url}{path}", data=body)
                seen.append(f"{answer.text}{answer.headers}")
        emulator.set_fault("demo-echo", "garbage")
        seen.append(session.post(f"{url}/endpoints/demo-echo/invocations", data=b"x").text)
        with RawClient(proxy) as raw:
            raw.send(f"GET / HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\x01\r\n\r\n")
            assert raw.read_head()[0] == 400
        seen += [session.get(f"{url}{path}").text for path in ("/metrics", "/console/figures")]
        for pid in (proxy.process.pid, *proxy.workers):
            seen.append(Path(f"/proc/{pid}/cmdline").read_text())
            environ = Path(f"/proc/{pid}/environ").read_text()
            assert "AWS_SECRET_ACCESS_KEY" in environ  # which the AWS SDK is to find there
            seen.append(environ.replace(secret, ""))
        proxy.stop()
        seen += proxy.log
    for directory, _, names in os.walk(tmp_path):
        for name in names:
            seen.append((Path(directory) / name).read_text(errors="replace"))
    assert len(proxy.log) > 10
    everything = "\n".join(seen)
    assert key not in everything
    assert uuid.UUID(key).hex not in everything
    assert secret not in everything


def test_an_instances_credentials_that_end_are_replaced_without_a_failure(
    emulator: Emulator, tmp_path: Path
) -> None:
    with MetadataService(lifetime=timedelta(hours=1)) as metadata:
        environ = {
            name: value
            for name, value in emulator.environment().items()
            if name.startswith("AWS_ENDPOINT")
        } | {
            "REGION_NAME": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "false",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.url,
        }

        def accept_issued() -> None:
            for access_key, secret, token in metadata.issued:
                emulator.credentials.add(access_key, secret, token)

        metadata.on_issue = accept_issued
        with RunningProxy(tmp_path, environ) as proxy, proxy.session() as session:
            for _rotation in range(3):
                for _ in range(5):
                    answer = session.post(f"{proxy.url}/predict", json={"model": "demo-echo"})
                    assert answer.status_code == 200
                emulator.credentials.expire(metadata.issued[-1][0])
            used = {
                call.headers["Authorization"].partition("Credential=")[2].partition("/")[0]
                for call in emulator.calls("demo-echo")[-15:]
            }
            assert len(used) == 3
            # The first listing may have met with credentials that ended, too.
            until = time.monotonic() + 10
            while (answer := session.get(f"{proxy.url}/readyz")).status_code != 200:
                assert time.monotonic() < until, answer.text


def test_a_low_limit_of_open_files_lowers_the_bound_of_connections(
    emulator: Emulator, tmp_path: Path
) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1000:
        pytest.skip("this machine's own limit is as low")
    with RunningProxy(tmp_path, emulator.environment(), QUICK, open_files=300) as proxy:
        warning = json.loads(proxy.log[0])
        assert "open files" in warning["message"]
        assert warning["server_max_connections"] == 25
        statuses = []
        with contextlib.ExitStack() as stack:
            for _ in range(30):
                raw = stack.enter_context(RawClient(proxy))
                statuses.append(raw.request("GET", "/healthz", {}).status)
        assert statuses == [200] * 25 + [503] * 5
