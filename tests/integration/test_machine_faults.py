"""The machine fails: no descriptors, no disk, no memory, nobody to read the log. Calls go on."""

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from proxy.keys import hash_key
from tests.emulator.emulator import Emulator
from tests.integration.conftest import QUICK
from tests.integration.raw import RawClient
from tests.integration.running import ROOT, RunningProxy, clean_environment, worker_ready
from tests.integration.scraping import scrape
from tests.small_disk import SmallDisk, small_disk
from tests.testhost.cgroup import mount_point

ECHO = "/endpoints/demo-echo/invocations"


def answers(proxy: RunningProxy, number: int, key: str = "") -> list[int]:
    """The statuses of so many calls, each on a connection of its own."""
    statuses = []
    for _ in range(number):
        with RawClient(proxy) as client:
            headers = {"X-API-Key": key or proxy.key}
            statuses.append(client.request("POST", ECHO, headers, b"hello").status)
    return statuses


class TestOpenFiles:
    @pytest.fixture
    def proxy(self, emulator: Emulator, tmp_path: Path) -> Iterator[RunningProxy]:
        with RunningProxy(tmp_path, emulator.environment(), QUICK) as proxy:
            yield proxy

    def test_at_the_limit_connections_wait_and_are_served_when_some_are_free(
        self, proxy: RunningProxy
    ) -> None:
        (worker,) = proxy.workers
        with contextlib.ExitStack() as stack:
            kept = stack.enter_context(RawClient(proxy))
            assert kept.request("POST", ECHO, proxy.headers, b"hello").status == 200
            limit = len(list(Path(f"/proc/{worker}/fd").iterdir())) + 20
            resource.prlimit(worker, resource.RLIMIT_NOFILE, (limit, limit))
            idle = [socket.create_connection(("localhost", proxy.port)) for _ in range(60)]
            full = proxy.wait_for_log(
                lambda entry: entry["message"] == "no connection can be accepted"
            )
            assert full["reason"] == "Too many open files"
            assert kept.request("POST", ECHO, proxy.headers, b"hello").status == 200
            before = len(proxy.log)
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                assert kept.request("GET", "/healthz", {}).status == 200
                time.sleep(0.05)
            others = [line for line in proxy.log[before:] if '"request"' not in line]
            assert len(others) < 10, "it says the same again and again"
            # This one waits, too.
            waiting = socket.create_connection(("localhost", proxy.port), timeout=20)
            for each in idle:
                each.close()
            with proxy.client_context().wrap_socket(waiting, server_hostname="localhost") as client:
                client.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
                assert client.recv(15) == b"HTTP/1.1 200 OK"
        assert answers(proxy, 5) == [200] * 5


class TestDisk:
    @pytest.fixture
    def disk(self, tmp_path: Path) -> Iterator[SmallDisk]:
        with small_disk(tmp_path / "run") as disk:
            yield disk

    @pytest.fixture
    def keys(self) -> dict[str, str]:
        return {name: str(uuid.uuid4()) for name in ("early", "late", "few")}

    @pytest.fixture
    def proxy(
        self, emulator: Emulator, disk: SmallDisk, keys: dict[str, str], tmp_path: Path
    ) -> Iterator[RunningProxy]:
        most = {"few": 6}
        (tmp_path / "keys.toml").write_text(
            "".join(
                f'[keys.{name}]\nsha256 = "{hash_key(key)}"\nmax_concurrent = 4\n'
                f"requests_per_minute = {most.get(name, 1000)}\ntokens_per_minute = 100000\n"
                for name, key in keys.items()
            )
        )
        environ = emulator.environment() | {"RUNTIME_DIRECTORY": str(disk.folder)}
        with RunningProxy(tmp_path, environ, QUICK, workers=2) as proxy:
            yield proxy

    def test_a_full_one_costs_no_call_and_no_worker(
        self, proxy: RunningProxy, disk: SmallDisk, keys: dict[str, str]
    ) -> None:
        assert answers(proxy, 8, keys["early"]) == [200] * 8
        disk.fill()
        # Old and new names, all of whose counts and metrics have to be kept somewhere.
        for key in (keys["early"], keys["late"], proxy.key):
            assert answers(proxy, 8, key) == [200] * 8
        with proxy.session() as session:
            for path in ("/nowhere", "/v1/models", "/list_endpoints", "/v1/models/demo-chat"):
                answer = session.get(f"{proxy.url}{path}", timeout=20)
                assert answer.status_code == (404 if path == "/nowhere" else 200)
        assert scrape(proxy).value("requests_total") > 0
        proxy.wait_for_log(lambda entry: "figures cannot be written" in entry["message"])
        disk.empty()
        assert answers(proxy, 8, keys["late"]) == [200] * 8
        assert not [line for line in proxy.log if "ended by itself" in line]

    def test_limits_hold_in_each_worker(
        self, proxy: RunningProxy, disk: SmallDisk, keys: dict[str, str]
    ) -> None:
        disk.fill()
        statuses = answers(proxy, 20, keys["few"])
        assert set(statuses) == {200, 429}
        assert 6 <= statuses.count(200) <= 12
        disk.empty()
        # What each has counted is put together.
        answers(proxy, 16, keys["few"])
        assert answers(proxy, 8, keys["few"]) == [429] * 8

    def test_a_worker_that_dies_meanwhile_is_replaced(
        self, proxy: RunningProxy, disk: SmallDisk, keys: dict[str, str]
    ) -> None:
        assert answers(proxy, 8, keys["early"]) == [200] * 8
        disk.fill()
        os.kill(proxy.workers[0], signal.SIGKILL)
        proxy.wait_for_log(worker_ready, timeout=30)
        assert answers(proxy, 8, keys["early"]) == [200] * 8


class TestMemory:
    @staticmethod
    @contextlib.contextmanager
    def bounded(pid: int, more_bytes: int) -> Iterator[None]:
        """A process that the kernel kills when it has taken so much more."""
        old = Path("/sys/fs/cgroup/memory")
        name = f"sagemaker-proxy-test-{pid}"
        is_old = (old / "memory.limit_in_bytes").exists()
        group = (old if is_old else mount_point()) / name
        try:
            group.mkdir()
            limit = group / ("memory.limit_in_bytes" if is_old else "memory.max")
            limit.write_text(str(more_bytes))
            (group / "cgroup.procs").write_text(str(pid))
        except OSError as exc:
            pytest.skip(f"no control group for memory: {exc}")
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                group.rmdir()

    def test_a_worker_that_the_kernel_kills_for_it_is_replaced_while_the_other_serves(
        self, emulator: Emulator, tmp_path: Path
    ) -> None:
        with (
            RunningProxy(tmp_path, emulator.environment(), QUICK, workers=2) as proxy,
            contextlib.ExitStack() as stack,
        ):
            clients: dict[int, RawClient] = {}
            while len(clients) < 2:  # one on each worker
                client = stack.enter_context(RawClient(proxy))
                client.request("GET", "/healthz", {})
                served = proxy.wait_for_log(lambda entry: "route" in entry)["pid"]
                clients.setdefault(served, client)
            victim, other = proxy.workers
            stack.enter_context(self.bounded(victim, 8 << 20))
            with contextlib.suppress(OSError):  # a body that is never whole
                clients[victim].send(
                    f"POST {ECHO} HTTP/1.1\r\nHost: x\r\nX-API-Key: {proxy.key}\r\n"
                    f"Transfer-Encoding: chunked\r\n\r\n"
                )
                for _ in range(200):
                    clients[victim].send(b"100000\r\n" + os.urandom(1 << 20) + b"\r\n")
            ended = proxy.wait_for_log(
                lambda entry: entry["message"] == "a worker ended by itself", 30
            )
            assert (ended["worker_pid"], ended["status"]) == (victim, -signal.SIGKILL)
            for _ in range(20):
                answer = clients[other].request("POST", ECHO, proxy.headers, b"hello")
                assert (answer.status, answer.body) == (200, b"hello")
            proxy.wait_for_log(worker_ready, timeout=30)
            assert answers(proxy, 10) == [200] * 10


class TestLog:
    @pytest.fixture
    def proxy(self, emulator: Emulator, tmp_path: Path) -> Iterator[RunningProxy]:
        with RunningProxy(tmp_path, emulator.environment(), QUICK, workers=2) as proxy:
            yield proxy

    def test_a_pipe_that_nobody_reads_holds_up_nothing_and_is_written_to_again(
        self, proxy: RunningProxy
    ) -> None:
        proxy.stop_listening()
        with contextlib.ExitStack() as stack:
            clients = [stack.enter_context(RawClient(proxy)) for _ in range(8)]
            for _ in range(100):  # 800 lines; a pipe holds some 200
                for client in clients:
                    assert client.request("GET", "/healthz", {}).status == 200
        proxy.listen_again()
        with proxy.session() as session:
            request_id = session.get(f"{proxy.url}/healthz").headers["X-Request-Id"]
        proxy.wait_for_request(request_id)
        assert sum('"route":"/healthz"' in line for line in proxy.log) >= 800
        assert not [line for line in proxy.log if "hangs" in line]

    def test_one_that_has_been_closed_disturbs_nobody(self, proxy: RunningProxy) -> None:
        proxy.hang_up()
        assert answers(proxy, 20) == [200] * 20
        os.kill(proxy.workers[0], signal.SIGKILL)
        # Its place is taken all the same, and a reload works.
        proxy.process.send_signal(signal.SIGHUP)
        assert answers(proxy, 20) == [200] * 20
        assert proxy.process.poll() is None

    def test_it_starts_and_serves_without_one(self, emulator: Emulator, tmp_path: Path) -> None:
        config = tmp_path / "config.toml"
        config.write_text(QUICK + "[server]\ntls = false\n")
        key = str(uuid.uuid4())
        with socket.create_server(("127.0.0.1", 0)) as listener:
            fd, (host, port) = listener.fileno(), listener.getsockname()
            script = f'exec 3<&{fd} 2>&-; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"'
            command = ["bash", "-c", script, "bash", sys.executable, "-m", "proxy", "serve"]
            process = subprocess.Popen(
                [*command, "--config", str(config)],
                pass_fds=[fd],
                cwd=ROOT,
                env=clean_environment(tmp_path) | {"API_KEY": key} | emulator.environment(),
            )
            try:  # the connection waits in the socket until somebody is there
                answer = requests.post(
                    f"http://{host}:{port}{ECHO}",
                    data=json.dumps("hello"),
                    headers={"X-API-Key": key},
                    timeout=30,
                )
                assert (answer.status_code, answer.json()) == (200, "hello")
            finally:
                process.send_signal(signal.SIGTERM)
                assert process.wait(30) == 0
