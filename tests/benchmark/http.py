"""Requests as bytes, and one exchange of them."""

import json
import socket
import ssl
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.benchmark.programs import Failed, Program

_ANSWER_SECONDS = 20.0
_PAUSE_SECONDS = 0.1


def request(path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    """Return a POST that keeps its connection."""
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


def chat(model: str, *, stream: bool) -> bytes:
    """Return the body of an OpenAI chat request."""
    message = {"role": "user", "content": "Why is the sky blue? Answer in a few sentences."}
    document: dict[str, Any] = {"model": model, "messages": [message]}
    if stream:
        document["stream"] = True
    return json.dumps(document).encode()


def write_requests(path: Path, requests: Iterable[bytes]) -> Path:
    """Write requests as the load generator reads them, and return where."""
    path.write_bytes(b"".join(b"%d\n%b" % (len(each), each) for each in requests))
    return path


def exchange(port: int, data: bytes, *, tls: bool) -> bytes:
    """Send one request and return the start of its answer, head included. Raises OSError."""
    with _connect(port, tls=tls) as connection:
        connection.sendall(data)
        answer = b""
        while b"\r\n\r\n" not in answer and (more := connection.recv(65536)):
            answer += more
        return answer + connection.recv(65536) if answer.endswith(b"\r\n\r\n") else answer


def read_all(port: int, data: bytes, *, tls: bool) -> str:
    """Send a request that asks for the connection to be closed, and return the answer as text.

    Raises OSError.
    """
    with _connect(port, tls=tls) as connection:
        connection.sendall(data)
        parts = []
        with suppress(ssl.SSLEOFError):  # closed without a word of TLS
            while more := connection.recv(65536):
                parts.append(more)
        return b"".join(parts).decode()


def _connect(port: int, *, tls: bool) -> socket.socket:
    plain = socket.create_connection(("127.0.0.1", port), _ANSWER_SECONDS)
    if not tls:
        return plain
    context = ssl.create_default_context()
    context.check_hostname = False  # a certificate for this run alone
    context.verify_mode = ssl.CERT_NONE
    return context.wrap_socket(plain, server_hostname="localhost")


def wait_until_served(
    program: Program, port: int, data: bytes, *, tls: bool, seconds: float
) -> None:
    """Wait until a request is answered with 200. Raises `Failed`."""
    deadline = time.monotonic() + seconds
    answer = b"nothing listens"
    while time.monotonic() < deadline:
        program.check()
        with suppress(OSError):
            answer = exchange(port, data, tls=tls)
            if answer.startswith(b"HTTP/1.1 200"):
                return
        time.sleep(_PAUSE_SECONDS)
    told = " ".join(answer[-300:].decode(errors="replace").split())
    raise Failed(f"no 200 within {seconds:.0f} s: {told}; {program.end_of_log()}")
