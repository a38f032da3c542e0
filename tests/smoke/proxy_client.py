"""What the smoke scripts share: the arguments, the key, the certificate, the choice of endpoint."""

from __future__ import annotations

import argparse
import hashlib
import os
import socket
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

QUESTION = "Who are you? Answer in one sentence."

_CONNECT_SECONDS = 10.0
_LONGEST_REASON = 500


class Failed(Exception):
    """The call came to nothing; the message is for the terminal."""


@dataclass(frozen=True)
class Server:
    """Where to call, with which key, and whom to trust."""

    host: str
    port: int
    seconds: float
    key: str = field(repr=False)
    tls: ssl.SSLContext = field(repr=False)

    @property
    def address(self) -> str:
        """Host and port as a URL has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """The root of all routes."""
        return f"https://{self.address}"

    def no_answer(self) -> Failed:
        """The failure to raise when the time is over."""
        return Failed(f"no answer from {self.address} within {self.seconds:g} s")


def make_parser(description: str) -> argparse.ArgumentParser:
    """A parser with the arguments that every script has."""
    parser = argparse.ArgumentParser(
        description=description,
        epilog="Environment: API_KEY, the key that the server expects. Without --ca the server's "
        "certificate is verified by this system's CAs; if that fails, the call is made all the "
        "same, and a warning says so.",
    )
    parser.add_argument("host", metavar="HOST", help="the server's name or address")
    parser.add_argument("port", metavar="PORT", type=int, help="the server's port")
    parser.add_argument(
        "--model", metavar="NAME", help="the endpoint to call (default: the first in service)"
    )
    parser.add_argument(
        "--ca",
        metavar="FILE",
        help="verify the server by this certificate alone (PEM); of a self-signed server it is "
        "the file certificate.pem",
    )
    parser.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=300.0,
        help="how long to wait for an answer (default: 300)",
    )
    return parser


def find_server(options: argparse.Namespace) -> Server:
    """The server that the arguments name, once its certificate has been looked at."""
    key = os.environ.get("API_KEY", "").strip()
    if not key:
        raise Failed("API_KEY is not set; set it to the server's key: export API_KEY=…")
    if not key.isascii() or not key.isprintable():
        raise Failed("API_KEY has characters that no key has")
    server = Server(
        options.host,
        options.port,
        seconds=options.timeout,
        key=key,
        tls=_load_trust(options.ca),
    )
    if problem := _examine_certificate(server):
        if options.ca:
            raise Failed(
                f"the certificate of {server.address} does not verify with --ca {options.ca}: "
                f"{problem}"
            )
        _go_unverified(server, problem)
    return server


def first_in_service(endpoints: Any) -> str:
    """The name of the first endpoint of a list that can be called."""
    try:
        names = [e["EndpointName"] for e in endpoints if e["EndpointStatus"] == "InService"]
    except (TypeError, LookupError) as exc:
        raise Failed("/list_endpoints answers no list of endpoints") from exc
    if not names:
        raise Failed(f"no endpoint is in service ({len(endpoints)} listed)")
    return str(names[0])


def refusal(status: int, answer: Any) -> Failed:
    """The failure to raise for an HTTP error; ``answer`` is the body, parsed or as text."""
    error = answer.get("error", answer) if isinstance(answer, dict) else answer
    reason = error.get("message", error) if isinstance(error, dict) else error
    text = " ".join(str(reason).split())[:_LONGEST_REASON]
    if status == 401:
        return Failed(f"the server refuses the key in API_KEY (401): {text}")
    return Failed(f"the server answers {status}: {text}")


def run(main: Callable[[], None]) -> int:
    """Call ``main``; its failure is one line on standard error. Returns the exit status."""
    try:
        main()
    except Failed as exc:
        print(f"{os.path.basename(sys.argv[0])}: {exc}", file=sys.stderr)  # noqa: PTH119
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _load_trust(ca: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca)
    except ssl.SSLError as exc:
        raise Failed(f"--ca {ca}: holds no certificate in PEM") from exc
    except OSError as exc:
        raise Failed(f"--ca {ca}: {exc.strerror}") from exc


def _examine_certificate(server: Server) -> str:
    """What is wrong with the server's certificate; empty if it is good."""
    timeout = min(_CONNECT_SECONDS, server.seconds)
    try:
        with (
            socket.create_connection((server.host, server.port), timeout) as plain,
            server.tls.wrap_socket(plain, server_hostname=server.host),
        ):
            return ""
    except ssl.SSLCertVerificationError as exc:
        return exc.verify_message
    except TimeoutError as exc:
        raise Failed(f"no connection to {server.address} within {timeout:g} s") from exc
    except ssl.SSLError as exc:
        raise Failed(f"{server.address} does not speak TLS as expected: {exc.reason}") from exc
    except (OSError, OverflowError) as exc:
        reason = getattr(exc, "strerror", None) or exc
        raise Failed(f"cannot connect to {server.address}: {reason}") from exc


def _go_unverified(server: Server, problem: str) -> None:
    try:
        pem = ssl.get_server_certificate((server.host, server.port), timeout=_CONNECT_SECONDS)
    except OSError as exc:
        raise Failed(f"cannot fetch the certificate of {server.address}: {exc}") from exc
    digest = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).digest()
    print(
        f"warning: the certificate of {server.address} was NOT verified ({problem}).\n"
        f"  Its SHA-256 fingerprint is {digest.hex(':').upper()};\n"
        "  compare that with certificate_sha256 in the line the server logged at its start.\n"
        "  To verify it, copy the server's certificate.pem here and add: --ca certificate.pem",
        file=sys.stderr,
    )
    server.tls.check_hostname = False
    server.tls.verify_mode = ssl.CERT_NONE
