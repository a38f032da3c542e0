"""The service itself, if it runs: who has its port, whether it is ready, what it is short of."""

from __future__ import annotations

import hashlib
import http.client
import json
import socket
import ssl
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

from proxy import certificates
from proxy.certificates import CertificatePair
from proxy.checks import listening
from proxy.checks.finding import Finding, failed, ok, skipped, warning
from proxy.checks.listening import Process
from proxy.config import Config, ServerConfig

_SECONDS = 3.0
_MOST_BYTES = 64 * 1024
_EVERY_ADDRESS = ("", "0.0.0.0", "::")  # noqa: S104 - to compare with
_READINESS = ("ready", "unavailable")

_SHORT = 0.9  # of the limit
_JOURNAL = "journalctl -u sagemaker-proxy -n 50 -o cat"
_RELOAD = "systemctl reload sagemaker-proxy"


class NoAnswer(Exception):
    """Who listens on the port does not answer as the proxy does; the message says how."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """What ``/readyz`` said, and the SHA-256 of the certificate it was said with, without TLS None.

    ``error`` is the code of the proxy's refusal, if that is what it said.
    """

    ready: bool
    reasons: tuple[str, ...] = ()
    catalog: str = ""
    error: str = ""
    certificate: str | None = None


def check_service(config: Config) -> list[Finding]:
    """Port and readiness, over loopback."""
    server = config.server
    if server.port == 0:
        return [skipped("server.port is 0, so it may be any port")]
    try:
        readiness = _ask(server)
    except ConnectionRefusedError:
        return [judge_unused(server.port, _bind_problem(server))]
    except (NoAnswer, OSError) as exc:
        return [judge_stranger(server.port, str(exc), listening.processes(server.port))]
    findings = [ok(f"the proxy answers on port {server.port}"), judge_readiness(readiness)]
    return [*findings, *judge_served(readiness.certificate, _fingerprint_on_disk(server))]


def judge_unused(port: int, problem: str | None) -> Finding:
    """Nothing listens. ``problem`` is why it could not begin to, if so."""
    start = f"systemctl start sagemaker-proxy; then: {_JOURNAL}"
    if problem is None:
        return warning(f"nothing listens on port {port}, which is free", start)
    return failed(f"nothing listens on port {port}, and nothing can: {problem}", start)


def judge_stranger(port: int, said: str, there: Sequence[Process]) -> Finding:
    """Something listens, and does not answer as the proxy does."""
    who = ", ".join(f"{each.name} (process {each.pid})" for each in there)
    found = f"port {port} is listened on{f' by {who}' if who else ''}, but {said}"
    return failed(found, f"sudo ss -ltnp 'sport = :{port}' tells whose it is; {_JOURNAL}")


def judge_readiness(readiness: Readiness) -> Finding:
    """Whether clients are served, and if not, why."""
    if readiness.error:
        return failed(
            f"the proxy refuses connections: {readiness.error}",
            "raise server.max_connections, or find the client that holds so many: ss -tn",
        )
    if not readiness.ready:
        return failed(f"not ready: {'; '.join(readiness.reasons)}", _JOURNAL)
    if readiness.catalog not in ("", "fresh"):
        return warning(f"ready, but its list of endpoints is {readiness.catalog}", _JOURNAL)
    return ok("ready")


def judge_served(served: str | None, on_disk: str | None) -> list[Finding]:
    """Nothing to find, unless the certificate that is served is another than that of the file."""
    if served is None or on_disk is None or served == on_disk:
        return []
    return [warning("another certificate is served than is in the file", _RELOAD)]


def check_open_files(config: Config) -> list[Finding]:
    """No process that serves is about to have no file descriptor left."""
    port = config.server.port
    if not listening.is_listened_on(port):
        return [skipped("nothing listens on the port")]
    return [judge_open_files(listening.processes(port) or listening.workers())]


def judge_open_files(there: Sequence[Process]) -> Finding:
    """The one that is nearest to its limit tells for all."""
    limited = [(each.open_files / each.most_files, each) for each in there if each.most_files]
    if not limited:
        why = "this user runs no proxy" if not there else "there is no limit"
        return skipped(why)
    share, process = max(limited, key=lambda pair: pair[0])
    found = f"{process.open_files:,} of {process.most_files:,} (process {process.pid})"
    to_do = "raise LimitNOFILE of the unit (ulimit -n), or lower server.max_connections"
    if process.open_files >= (process.most_files or 0) - 1:
        return failed(f"{found}: it can accept nobody", to_do)
    return warning(found, to_do) if share >= _SHORT else ok(found)


def check_outside(config: Config) -> list[Finding]:
    """What cannot be told from here, and how to find out."""
    server = config.server
    if server.host not in _EVERY_ADDRESS and _is_loopback(server.host):
        return [ok(f"it listens on {server.host} alone, so nobody outside can reach it")]
    scheme = "https" if server.tls else "http"
    return [
        skipped(
            "a security group or a firewall cannot be seen from this host",
            f"on a client: curl -k -m 5 {scheme}://HOST:{server.port}/healthz; if that times out, "
            f"let port {server.port} in (stack_client_cidr)",
        )
    ]


def read_answer(status: int, body: bytes, certificate: str | None) -> Readiness:
    """What an answer of ``/readyz`` says. Raises ``NoAnswer`` if it is not the proxy's."""
    try:
        said = json.loads(body)
    except ValueError:
        said = None
    if isinstance(said, dict):
        if said.get("status") in _READINESS:
            reasons = tuple(map(str, said.get("reasons", ())))
            ready = status == HTTPStatus.OK
            return Readiness(ready, reasons, str(said.get("catalog", "")), "", certificate)
        if isinstance(error := said.get("error"), dict) and error.get("code"):
            return Readiness(False, error=str(error["code"]), certificate=certificate)
    raise NoAnswer(f"answers {status} to /readyz, as the proxy does not")


def _ask(server: ServerConfig) -> Readiness:
    """Raises ``NoAnswer`` and ``OSError``."""
    host = "localhost" if server.host in _EVERY_ADDRESS else server.host
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # what it is for is another check's matter
    context.verify_mode = ssl.CERT_NONE
    with closing(
        http.client.HTTPSConnection(host, server.port, timeout=_SECONDS, context=context)
        if server.tls
        else http.client.HTTPConnection(host, server.port, timeout=_SECONDS)
    ) as connection:
        try:
            connection.connect()
        except ssl.SSLError as exc:
            raise NoAnswer(f"it does not speak TLS ({exc.reason or exc})") from exc
        except TimeoutError as exc:
            raise NoAnswer(f"it does not answer within {_SECONDS:g} seconds") from exc
        certificate = _fingerprint(connection.sock)
        try:
            connection.request("GET", "/readyz")
            answer = connection.getresponse()
            return read_answer(answer.status, answer.read(_MOST_BYTES), certificate)
        except TimeoutError as exc:
            raise NoAnswer(f"it does not answer within {_SECONDS:g} seconds") from exc
        except http.client.HTTPException as exc:
            raise NoAnswer("it does not speak HTTP") from exc


def _fingerprint(connection: socket.socket | None) -> str | None:
    if not isinstance(connection, ssl.SSLSocket):
        return None
    return hashlib.sha256(connection.getpeercert(binary_form=True) or b"").digest().hex(":").upper()


def _fingerprint_on_disk(server: ServerConfig) -> str | None:
    path = Path(server.certificate or certificates.state_directory() / "certificate.pem")
    try:
        return CertificatePair(path, path).fingerprint() if server.tls else None
    except (OSError, ValueError):
        return None  # which is told of by the certificate's own check


def _bind_problem(server: ServerConfig) -> str | None:
    """Why the address and port cannot be listened on; None if they can."""
    host = server.host or ("::" if socket.has_dualstack_ipv6() else "0.0.0.0")  # noqa: S104
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except PermissionError:
        return None  # a low port, which systemd opens
    except OSError as exc:
        return exc.strerror or str(exc)
    return None


def _is_loopback(host: str) -> bool:
    return host == "localhost" or host.startswith("127.") or host == "::1"
