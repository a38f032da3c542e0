"""A server in SageMaker's place that writes down what reaches it, byte by byte."""

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

OK = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"


@dataclass(frozen=True)
class Received:
    """One request: its first line, its headers in their order, and its body."""

    line: str
    headers: list[tuple[str, str]]
    body: bytes

    def values(self, name: str) -> list[str]:
        """Each value of a header."""
        return [value for each, value in self.headers if each.lower() == name.lower()]


@dataclass
class Recorder:
    """A context manager; `answer` is what it says to everybody."""

    answer: bytes = OK
    connections: int = 0
    received: list[Received] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for each in (self._listening, *self._open):
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:  # it is over
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection.makefile("rb") as file:
                while line := file.readline():
                    self.received.append(_read(line, file.readline, file.read))
                    connection.sendall(self.answer)
        except (OSError, ValueError):  # the other side, or the test, is done
            connection.close()


def _read(line: bytes, readline: Callable[[], bytes], read: Callable[[int], bytes]) -> Received:
    headers = []
    while (header := readline()) not in (b"\r\n", b""):
        name, _, value = header.decode("latin-1").partition(":")
        headers.append((name, value.strip()))
    length = sum(int(value) for name, value in headers if name.lower() == "content-length")
    return Received(line.decode("latin-1").rstrip("\r\n"), headers, read(length))
