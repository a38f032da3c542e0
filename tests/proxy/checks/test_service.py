"""What answers on the port, or does not, tells how the service is."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from proxy.checks import service
from proxy.checks.finding import Verdict
from proxy.checks.listening import Process
from proxy.checks.service import NoAnswer, Readiness
from proxy.config import Config, ServerConfig


@contextmanager
def stranger(says: bytes) -> Iterator[int]:
    """A server on loopback that says one thing to whoever comes, whatever they say."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            try:
                while True:
                    with server.accept()[0] as client:
                        client.recv(1000)
                        client.sendall(says)
            except OSError:
                return

        thread = threading.Thread(target=answer)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def config(port: int, *, tls: bool = False, host: str = "127.0.0.1") -> Config:
    return Config(server=ServerConfig(host=host, port=port, tls=tls))


class TestReading:
    def test_ready(self) -> None:
        read = service.read_answer(200, b'{"status": "ready", "catalog": "fresh"}', "AB")
        assert read == Readiness(True, (), "fresh", "", "AB")
        assert service.judge_readiness(read).verdict is Verdict.OK

    def test_not_ready_and_why(self) -> None:
        body = b'{"status": "unavailable", "reasons": ["no valid AWS credentials"]}'
        finding = service.judge_readiness(service.read_answer(503, body, None))
        assert finding.verdict is Verdict.FAILED
        assert finding.found == "not ready: no valid AWS credentials"

    def test_ready_with_an_old_list(self) -> None:
        read = service.read_answer(200, b'{"status": "ready", "catalog": "stale"}', None)
        assert service.judge_readiness(read).verdict is Verdict.WARNING

    def test_refused_for_too_many_connections(self) -> None:
        body = b'{"error": {"message": "m", "code": "too_many_connections"}}'
        finding = service.judge_readiness(service.read_answer(503, body, None))
        assert finding.verdict is Verdict.FAILED
        assert "too_many_connections" in finding.found

    @pytest.mark.parametrize("body", [b"<html>", b"[]", b'{"status": "UP"}', b'{"error": "no"}'])
    def test_another_program(self, body: bytes) -> None:
        with pytest.raises(NoAnswer):
            service.read_answer(200, body, None)


class TestPort:
    def test_one_that_is_free_is_told(self) -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
        (finding,) = service.check_service(config(port))
        assert finding.verdict is Verdict.WARNING
        assert finding.found == f"nothing listens on port {port}, which is free"

    def test_an_address_that_is_not_the_hosts_is_a_failure(self) -> None:
        assert service.judge_unused(8000, "Cannot assign requested address").verdict is (
            Verdict.FAILED
        )
        assert service._bind_problem(ServerConfig(host="192.0.2.1", port=8000))

    @pytest.mark.parametrize(
        ("says", "tls", "told"),
        [
            (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", False, "answers 200 to /readyz"),
            (b"220 mail\r\n", False, "it does not speak HTTP"),
            (b"220 mail\r\n", True, "it does not speak TLS"),
        ],
    )
    def test_another_program_is_named(self, says: bytes, tls: bool, told: str) -> None:
        with stranger(says) as port:
            (finding,) = service.check_service(config(port, tls=tls))
        assert finding.verdict is Verdict.FAILED
        assert told in finding.found
        assert "(process " in finding.found
        assert f"ss -ltnp 'sport = :{port}'" in finding.to_do

    def test_any_port_cannot_be_looked_at(self) -> None:
        assert service.check_service(config(0))[0].verdict is Verdict.SKIPPED


def test_another_certificate_than_the_files_is_warned_of() -> None:
    (finding,) = service.judge_served("AA", "BB")
    assert "systemctl reload" in finding.to_do
    assert service.judge_served("AA", "AA") == service.judge_served(None, None) == []


@pytest.mark.parametrize(
    ("open_files", "most", "verdict"),
    [
        (100, 1000, Verdict.OK),
        (950, 1000, Verdict.WARNING),
        (1000, 1000, Verdict.FAILED),
        (100, None, Verdict.SKIPPED),
    ],
)
def test_the_process_nearest_to_its_limit_tells(
    open_files: int, most: int | None, verdict: Verdict
) -> None:
    there = [Process(1, "python", 5, 1000), Process(2, "python", open_files, most)]
    if most is None:
        there = there[1:]
    assert service.judge_open_files(there).verdict is verdict


def test_what_is_outside_cannot_be_told_but_how_to_find_out() -> None:
    (finding,) = service.check_outside(config(8443, tls=True, host=""))
    assert finding.verdict is Verdict.SKIPPED
    assert "https://HOST:8443/healthz" in finding.to_do
    assert service.check_outside(config(8443))[0].verdict is Verdict.OK
