"""A client that says exactly what it is told, over a real TLS socket."""

import json
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from tests.integration.running import RunningProxy


@dataclass(frozen=True)
class RawAnswer:
    """An HTTP answer, taken apart."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class RawClient:
    """One connection to a proxy."""

    def __init__(self, proxy: RunningProxy, timeout: float = 10.0) -> None:
        plain = socket.create_connection(("localhost", proxy.port), timeout)
        self.socket = proxy.client_context().wrap_socket(plain, server_hostname="localhost")
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self.socket.close()

    def send(self, data: bytes | str) -> None:
        """Send bytes as they are."""
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def request(
        self, method: str, path: str, headers: dict[str, str], body: bytes = b""
    ) -> RawAnswer:
        """Send a request, and read its answer."""
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return self.read_answer(head=method == "HEAD")

    def read_head(self) -> tuple[int, dict[str, str]]:
        """Read the status and the headers of an answer, names in lower case."""
        status_line = self._file.readline()
        if not status_line:
            raise ConnectionResetError("the connection was closed without an answer")
        headers = {}
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return int(status_line.split()[1]), headers

    def read_chunk(self) -> bytes:
        """Read one chunk of a chunked body; empty at its end."""
        size = int(self._file.readline(), 16)
        data = self._file.read(size)
        self._file.readline()
        return data

    def read_answer(self, *, head: bool = False) -> RawAnswer:
        """Read a whole answer; `head`: one without a body, whatever it says."""
        status, headers = self.read_head()
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            while chunk := self.read_chunk():
                body += chunk
        elif not head:
            body = self._file.read(int(headers.get("content-length", "0")))
        return RawAnswer(status, headers, body)

    def read_to_end(self) -> bytes:
        """Read until the server closes the connection."""
        return self._file.read()

    def is_closed(self) -> bool:
        """Wait for the server's side to end; whether it has."""
        try:
            return self._file.read(1) == b""
        except ConnectionError:
            return True
