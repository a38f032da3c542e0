"""Workers: connections are shared evenly, the dead are replaced, a reload drops nothing."""

import contextlib
import json
import os
import signal
import socket
import statistics
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import requests

from proxy import certificates
from proxy.control import ControlError, request_reload
from tests.emulator.containers import chat
from tests.emulator.emulator import Emulator
from tests.emulator.metadata import MetadataService
from tests.integration.conftest import QUICK
from tests.integration.raw import RawClient
from tests.integration.running import Entry, RunningProxy, worker_ready

CHAT = {"model": "steady", "messages": [{"role": "user", "content": "hello"}], "stream": True}


@pytest.fixture(scope="module", autouse=True)
def steady(emulator: Emulator) -> None:
    """A model whose answer takes two seconds and more."""
    emulator.add_endpoint("steady", chat.application(("steady",), token_delay=0.05))


@pytest.fixture
def pair(emulator: Emulator, tmp_path: Path) -> Iterator[RunningProxy]:
    """A proxy with two workers."""
    with RunningProxy(tmp_path, emulator.environment(), QUICK, workers=2) as proxy:
        yield proxy


def says(message: str) -> Callable[[Entry], bool]:
    return lambda entry: bool(entry["message"] == message)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for path in found for child in path.read_text().split()]


def wait_until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


class Load:
    """Clients that call without pause, each on a connection it keeps; failures are counted."""

    def __init__(self, proxy: RunningProxy, clients: int) -> None:
        self._proxy = proxy
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(clients)
        self._clients = clients
        self.answered = 0
        self.failures: list[str] = []

    def __enter__(self) -> "Load":
        self._runs = [self._pool.submit(self._run) for _ in range(self._clients)]
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for run in self._runs:
            run.result()
        self._pool.shutdown()

    def _run(self) -> None:
        with self._proxy.session() as session:
            while not self._stop.is_set():
                try:
                    answer = session.post(f"{self._proxy.url}/predict", json={"model": "demo-echo"})
                except requests.RequestException as exc:
                    self.failures.append(repr(exc))
                else:
                    self.answered += 1
                    if answer.status_code != 200:
                        self.failures.append(answer.text)


def test_connections_are_shared_evenly(pair: RunningProxy) -> None:
    def busiest() -> float:
        ids = [uuid.uuid4().hex for _ in range(64)]
        with contextlib.ExitStack() as stack, ThreadPoolExecutor(64) as pool:
            clients = [stack.enter_context(RawClient(pair)) for _ in ids]
            list(
                pool.map(
                    lambda client, each: client.request("GET", "/healthz", {"X-Request-Id": each}),
                    clients,
                    ids,
                )
            )
        served = Counter(pair.wait_for_log(lambda entry: "route" in entry)["pid"] for _ in ids)
        assert set(served) <= set(pair.workers)
        return max(served.values()) / len(ids)

    # The kernel deals by a hash, so one deal in sixty is lopsided; of three, hardly ever two.
    assert statistics.median(busiest() for _ in range(3)) < 0.65


class TestDeath:
    def test_a_worker_that_is_killed_is_replaced_and_only_its_own_requests_are_lost(
        self, pair: RunningProxy
    ) -> None:
        with pair.session() as session, contextlib.ExitStack() as stack:
            streams: dict[int, RawClient] = {}
            while len(streams) < 2:  # one stream on each worker
                client = stack.enter_context(RawClient(pair))
                client.request("GET", "/healthz", {})
                served = pair.wait_for_log(lambda entry: "route" in entry)["pid"]
                streams.setdefault(served, client)
            victim, other = pair.workers
            body = json.dumps(CHAT).encode()
            for client in streams.values():
                client.send(
                    f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-API-Key: {pair.key}\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n".encode()
                    + body
                )
                assert client.read_head()[0] == 200
            os.kill(victim, signal.SIGKILL)
            ended = pair.wait_for_log(says("a worker ended by itself"))
            assert ended["worker_pid"] == victim
            assert ended["status"] == -signal.SIGKILL
            new = pair.wait_for_log(worker_ready)["worker_pid"]
            assert new not in pair.workers
            chunks = []
            while chunk := streams[other].read_chunk():
                chunks.append(chunk)
            assert chunks[-1].endswith(b"data: [DONE]\n\n")
            for _ in range(10):
                assert session.get(f"{pair.url}/v1/models").status_code == 200

    def test_a_worker_that_hangs_is_killed_and_replaced(self, pair: RunningProxy) -> None:
        victim = pair.workers[0]
        os.kill(victim, signal.SIGSTOP)
        hung = pair.wait_for_log(says("a worker hangs; killing it"), timeout=15)
        assert hung["worker_pid"] == victim
        pair.wait_for_log(worker_ready)
        assert not is_running(victim)

    def test_one_that_cannot_start_is_tried_again_while_the_other_serves(
        self, pair: RunningProxy
    ) -> None:
        config = pair.directory / "config.toml"
        good = config.read_text()
        config.write_text("not toml")
        os.kill(pair.workers[0], signal.SIGKILL)
        for _ in range(2):
            failed = pair.wait_for_log(says("a worker cannot start"))
            assert "is not TOML" in failed["reason"]
        statuses = []
        for _ in range(10):  # those that fall to the dead worker's socket wait there
            with contextlib.suppress(OSError), RawClient(pair, timeout=0.3) as raw:
                statuses.append(raw.request("GET", "/healthz", {}).status)
        assert 200 in statuses
        config.write_text(good)
        pair.wait_for_log(worker_ready, timeout=20)

    def test_the_workers_do_not_outlive_the_supervisor(self, pair: RunningProxy) -> None:
        pair.stop(signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, pair.workers)))


class TestReload:
    def test_it_drops_nothing(self, pair: RunningProxy) -> None:
        with pair.session() as session, Load(pair, clients=8) as load:
            old = list(pair.workers)
            for _ in range(3):
                streams = [
                    session.post(f"{pair.url}/v1/chat/completions", json=CHAT, stream=True)
                    for _ in range(5)
                ]
                pair.process.send_signal(signal.SIGHUP)
                pair.wait_for_log(says("reloaded"))
                for stream in streams:
                    assert stream.text.endswith("data: [DONE]\n\n")
        assert load.failures == []
        assert load.answered > 100
        wait_until(lambda: not any(map(is_running, old)))

    def test_a_kept_connection_gets_one_more_answer_however_long_that_takes(
        self, emulator: Emulator, tmp_path: Path
    ) -> None:
        body = json.dumps(CHAT)
        with RunningProxy(
            tmp_path, emulator.environment(), QUICK + "[server]\ndrain_seconds = 3\n"
        ) as proxy:
            stream = (
                f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-API-Key: {proxy.key}\r\n"
                f"Content-Length: {len(body)}\r\n\r\n{body}"
            )
            with RawClient(proxy) as client:
                client.send(stream)
                client.read_head()
                proxy.process.send_signal(signal.SIGHUP)
                proxy.wait_for_log(says("draining"))
                began = time.monotonic()
                while client.read_chunk():
                    pass
                # Those of its streams that began during the drain end after it.
                client.send(stream)
                assert client.read_head()[1]["connection"].lower() == "close"
                chunks = []
                while chunk := client.read_chunk():
                    chunks.append(chunk)
                assert time.monotonic() - began > 3
                assert chunks[-1].endswith(b"data: [DONE]\n\n")
                assert client.is_closed()
            assert proxy.wait_for_log(says("stopped"))["requests_cut"] == 0

    def test_a_connection_that_was_busy_until_a_moment_ago_is_not_idle(
        self, emulator: Emulator, tmp_path: Path
    ) -> None:
        linger = 3
        body = json.dumps(CHAT)
        with RunningProxy(
            tmp_path, emulator.environment(), QUICK + f"[server]\ndrain_seconds = {linger}\n"
        ) as proxy:
            with RawClient(proxy) as client:
                client.send(
                    f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nX-API-Key: {proxy.key}\r\n"
                    f"Content-Length: {len(body)}\r\n\r\n{body}"
                )
                client.read_head()
                proxy.process.send_signal(signal.SIGHUP)
                proxy.wait_for_log(says("draining"))
                began = time.monotonic()
                while client.read_chunk():
                    pass
                answered = time.monotonic()
                assert began < answered < began + linger
                # All that was idle has been closed when this comes.
                wait_until(lambda: time.monotonic() > began + linger + 0.3)
                assert time.monotonic() < answered + linger - 0.3
                answer = client.request("GET", "/healthz", {})
                assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert proxy.wait_for_log(says("stopped"))["requests_cut"] == 0

    def test_new_settings_and_a_new_certificate_are_in_effect(self, pair: RunningProxy) -> None:
        config = pair.directory / "config.toml"
        config.write_text(QUICK + "[server]\nmax_body_bytes = 10\n")
        new = certificates.create(pair.directory, ["localhost"])
        pair.process.send_signal(signal.SIGHUP)
        reloaded = pair.wait_for_log(says("reloaded"))
        assert reloaded["certificate_sha256"] == new.fingerprint() != pair.fingerprint
        wait_until(lambda: not any(map(is_running, pair.workers)))
        with RawClient(pair) as raw:  # verifies by the new certificate
            assert raw.request("POST", "/predict", pair.headers, b"x" * 11).status == 413

    def test_a_replacement_that_was_still_starting_is_not_left_over(
        self, pair: RunningProxy
    ) -> None:
        pair.process.send_signal(signal.SIGHUP)
        pair.wait_for_log(worker_ready)  # the first of the new ones
        os.kill(pair.workers[1], signal.SIGKILL)
        pair.wait_for_log(says("reloaded"))
        wait_until(lambda: len(children(pair.process.pid)) == 2)
        with pair.session() as session:
            assert session.get(f"{pair.url}/healthz").status_code == 200

    def test_a_signal_of_the_terminal_is_the_supervisors_alone(self, pair: RunningProxy) -> None:
        for pid in pair.workers:
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGHUP)
        with pair.session() as session:
            assert session.get(f"{pair.url}/healthz").status_code == 200
        assert all(map(is_running, pair.workers))

    def test_after_the_machine_stood_still_nobody_is_taken_for_hung(
        self, pair: RunningProxy
    ) -> None:
        everyone = (pair.process.pid, *pair.workers)
        for pid in everyone:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(6)  # the time that a worker may be silent
        for pid in everyone:
            os.kill(pid, signal.SIGCONT)
        pair.process.send_signal(signal.SIGHUP)
        pair.wait_for_log(says("reloaded"))
        assert not [line for line in pair.log if "hangs" in line]

    def test_one_that_cannot_start_changes_nothing(self, pair: RunningProxy) -> None:
        config = pair.directory / "config.toml"
        good = config.read_text()
        config.write_text("[server]\nprot = 1\n")
        with Load(pair, clients=2) as load:
            pair.process.send_signal(signal.SIGHUP)
            failed = pair.wait_for_log(says("the reload failed; the workers that run go on"))
            assert "did you mean server.port?" in failed["reason"]
            assert all(map(is_running, pair.workers))
            config.write_text(good)
            pair.process.send_signal(signal.SIGHUP)
            pair.wait_for_log(says("reloaded"))
        assert load.failures == []

    def test_one_that_finds_no_credentials_takes_the_place_of_none_that_has_some(
        self, emulator: Emulator, tmp_path: Path
    ) -> None:
        environ = {
            name: value for name, value in emulator.environment().items() if "ENDPOINT" in name
        }
        with MetadataService(lifetime=timedelta(hours=1)) as metadata:
            metadata.on_issue = lambda: emulator.credentials.add(*metadata.issued[-1])
            environ["AWS_EC2_METADATA_DISABLED"] = "false"
            environ["AWS_EC2_METADATA_SERVICE_ENDPOINT"] = metadata.url
            with RunningProxy(tmp_path, environ, QUICK) as proxy, Load(proxy, clients=2) as load:
                old = proxy.workers[0]
                wait_until(lambda: load.answered > 20)
                metadata.away.set()
                proxy.process.send_signal(signal.SIGHUP)
                failed = proxy.wait_for_log(says("the reload failed; the workers that run go on"))
                assert failed["reason"] == (
                    "no AWS credentials found, and the workers that run have some"
                )
                assert is_running(old)
                metadata.away.clear()
                proxy.process.send_signal(signal.SIGHUP)
                proxy.wait_for_log(says("reloaded"))
            assert load.failures == []


class TestEnd:
    def test_sigterm_ends_them_all_with_0(self, pair: RunningProxy) -> None:
        assert pair.stop() == 0
        assert not any(map(is_running, pair.workers))

    def test_a_second_one_ends_them_all_now(self, pair: RunningProxy) -> None:
        with pair.session() as session:
            stream = session.post(f"{pair.url}/v1/chat/completions", json=CHAT, stream=True)
            pair.process.send_signal(signal.SIGTERM)
            pair.wait_for_log(says("draining"))
            assert pair.stop(signal.SIGTERM, timeout=10) == -signal.SIGTERM
            stream.close()
        wait_until(lambda: not any(map(is_running, pair.workers)), seconds=10)


class TestSystemd:
    @pytest.fixture
    def notifications(self, tmp_path: Path) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
            listener.bind(str(tmp_path / "notify"))
            listener.settimeout(20)
            yield listener

    @staticmethod
    def wait_for(notifications: socket.socket, *wanted: str) -> None:
        left = set(wanted)
        while left:
            lines = notifications.recv(4096).decode().splitlines()
            left -= {word for word in left if any(word in line for line in lines)}

    def test_it_is_told_of_every_state(
        self, emulator: Emulator, tmp_path: Path, notifications: socket.socket
    ) -> None:
        environ = emulator.environment() | {
            "NOTIFY_SOCKET": notifications.getsockname(),
            "WATCHDOG_USEC": "4000000",
        }
        with RunningProxy(tmp_path, environ, QUICK) as proxy:
            self.wait_for(notifications, "READY=1", "1 of 1 workers serve", "WATCHDOG=1")
            proxy.process.send_signal(signal.SIGHUP)
            self.wait_for(notifications, "RELOADING=1", "MONOTONIC_USEC=")
            self.wait_for(notifications, "READY=1")
            proxy.process.send_signal(signal.SIGTERM)
            self.wait_for(notifications, "STOPPING=1")
            assert proxy.process.wait(20) == 0

    def test_a_reload_that_fails_shows_until_one_succeeds(
        self, emulator: Emulator, tmp_path: Path, notifications: socket.socket
    ) -> None:
        environ = emulator.environment() | {
            "NOTIFY_SOCKET": notifications.getsockname(),
            "RUNTIME_DIRECTORY": str(tmp_path),
        }
        with RunningProxy(tmp_path, environ, QUICK) as proxy:
            config = tmp_path / "config.toml"
            good = config.read_text()
            config.write_text("not toml")
            with pytest.raises(ControlError, match="is not TOML"):
                request_reload(tmp_path / "control")
            self.wait_for(notifications, "READY=1", "the last reload failed: ")
            config.write_text(good)
            request_reload(tmp_path / "control")
            proxy.wait_for_log(says("reloaded"), timeout=10)

    def test_its_sockets_are_used_and_outlive_the_service(
        self, emulator: Emulator, tmp_path: Path
    ) -> None:
        with contextlib.ExitStack() as stack:
            one = stack.enter_context(
                socket.create_server(("127.0.0.1", 0), reuse_port=True, backlog=64)
            )
            address = one.getsockname()
            two = stack.enter_context(socket.create_server(address, reuse_port=True, backlog=64))
            given = (one, two)
            with RunningProxy(
                tmp_path, emulator.environment(), QUICK, workers=2, given=given
            ) as proxy:
                assert proxy.port == address[1]
                for _ in range(10):
                    with RawClient(proxy) as raw:
                        assert raw.request("GET", "/healthz", {}).status == 200
            # The service has ended, and still nobody is refused: the next one will answer.
            with socket.create_connection(address, timeout=5):
                pass
