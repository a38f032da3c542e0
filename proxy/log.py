"""The log: one JSON object a line on standard error, from an allow-list of fields."""

from __future__ import annotations

import json
import logging
import os
import socket
import stat
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol, TextIO

import msgspec

from proxy.pipes import Pipe

_access = logging.getLogger("proxy.access")
_lines: Lines | None = None  # where the access log goes, as ``configure`` has it

# Of lines that the journal does not take yet. What is more is lost, and counted.
_MOST_WAITING_BYTES = 4 << 20

# What the end of the process waits for them.
_FLUSH_SECONDS = 2.0


class JsonFormatter(logging.Formatter):
    """Formats a record as one line of JSON: time, level, logger, pid, message, ``fields``."""

    def format(self, record: logging.LogRecord) -> str:
        """Render ``record``; ``extra={"fields": {…}}`` adds to the object."""
        entry: dict[str, object] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "pid": record.process,
            "message": record.getMessage(),
        }
        entry.update(getattr(record, "fields", {}))
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class Lines(Protocol):
    """Where lines go."""

    def write_line(self, line: bytes) -> None:
        """Write one, which ends with a line feed."""


class StreamLines(logging.StreamHandler[TextIO]):
    """Writes lines to a file or a terminal, and waits for it."""

    def write_line(self, line: bytes) -> None:
        """Write one, which ends with a line feed."""
        self.acquire()
        try:
            self.stream.write(line.decode())
            self.flush()
        except (OSError, ValueError):  # it is closed, and there is nobody else to tell
            pass
        finally:
            self.release()


class JournalHandler(logging.Handler):
    """Writes lines to a socket, as systemd gives for standard error, and never waits for it.

    The journal may stop reading for seconds, while it writes to a slow disk, and requests go on.
    """

    def __init__(self, journal: socket.socket | Pipe) -> None:
        """``journal`` is a blocking stream socket, or a pipe that somebody reads the log from."""
        super().__init__()
        self._journal = journal
        self._guard = threading.Lock()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._lost = 0
        self._sender: threading.Thread | None = None  # while lines wait

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record, or have it wait its turn."""
        try:
            line = self.format(record).encode() + b"\n"
        except Exception:
            self.handleError(record)
            return
        self.write_line(line)

    def write_line(self, line: bytes) -> None:
        """Send a line, which ends with a line feed, or have it wait its turn."""
        with self._guard:
            if self._sender is not None:
                if self._waiting_bytes + len(line) > _MOST_WAITING_BYTES:
                    self._lost += 1
                else:
                    self._wait(line)
                return
            try:
                line = line[self._journal.send(line, socket.MSG_DONTWAIT) :]
            except BlockingIOError:
                pass
            except OSError:  # the journal is gone, and there is nobody else to tell
                return
            if line:
                self._wait(line)
                self._sender = threading.Thread(target=self._send_waiting, daemon=True)
                self._sender.start()

    def flush(self) -> None:
        """Give the lines that wait a moment to go."""
        sender = self._sender
        if sender is not None:
            sender.join(_FLUSH_SECONDS)

    def _wait(self, line: bytes) -> None:
        self._waiting.append(line)
        self._waiting_bytes += len(line)

    def _send_waiting(self) -> None:
        while True:
            with self._guard:
                if not self._waiting and self._lost:
                    self._wait(self._line_about_lost())
                if not self._waiting:
                    self._sender = None
                    return
                line = self._waiting.popleft()
                self._waiting_bytes -= len(line)
            with suppress(OSError):
                self._journal.sendall(line)

    def _line_about_lost(self) -> bytes:
        record = logging.makeLogRecord(
            {
                "name": __name__,
                "levelno": logging.WARNING,
                "levelname": "WARNING",
                "msg": "the journal was too slow: lines are missing before this one",
                "fields": {"lines": self._lost},
            }
        )
        self._lost = 0
        return self.format(record).encode() + b"\n"


def configure(stream: TextIO | None = None, level: int = logging.INFO) -> None:
    """Send every logger's records to ``stream`` (standard error) as JSON lines."""
    global _lines
    handler = _for_standard_error() if stream is None else StreamLines(stream)
    handler.setFormatter(JsonFormatter())
    _lines = handler if level <= logging.INFO else None
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # At DEBUG these log headers, credentials among them; at INFO botocore tells of every client
    # where it found its credentials, and tornado quotes a malformed header with its value.
    for name in ("botocore", "boto3", "urllib3", "tornado.general"):
        logging.getLogger(name).setLevel(max(level, logging.WARNING))


def _for_standard_error() -> JournalHandler | StreamLines:
    if sys.stderr is None:  # it is closed
        sys.stderr = os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
    fd = sys.stderr.fileno()
    mode = os.fstat(fd).st_mode
    if stat.S_ISSOCK(mode):
        return JournalHandler(socket.socket(fileno=os.dup(fd)))
    if stat.S_ISFIFO(mode):
        with suppress(OSError):  # it may be another user's
            return JournalHandler(Pipe(fd))
    return StreamLines(sys.stderr)


def log_fields(logger: logging.Logger, level: int, message: str, **fields: object) -> None:
    """Log ``message`` with structured ``fields``; those that are None are left out."""
    if logger.isEnabledFor(level):
        present = {name: value for name, value in fields.items() if value is not None}
        logger.log(level, message, extra={"fields": present})


def log_access(
    *, began: float, first_byte: float | None, upstream_seconds: float | None, **fields: object
) -> None:
    """Log one request. ``began`` and ``first_byte`` are ``time.monotonic()`` as they happened.

    ``upstream_seconds`` is how long the model took to begin its answer.
    """
    fields["milliseconds"] = _milliseconds(time.monotonic() - began)
    if first_byte is not None:
        fields["first_byte_milliseconds"] = _milliseconds(first_byte - began)
    if upstream_seconds is not None:
        fields["upstream_milliseconds"] = _milliseconds(upstream_seconds)
    if _lines is None:
        log_fields(_access, logging.INFO, "request", **fields)
        return
    # As a record is formatted, in a tenth of the time.
    entry: dict[str, object] = {
        "time": _time(time.time()),
        "level": "info",
        "logger": _access.name,
        "pid": os.getpid(),
        "message": "request",
    }
    for name, value in fields.items():
        if value is not None:
            entry[name] = value
    _lines.write_line(_encode(entry) + b"\n")


def _encode(entry: dict[str, object]) -> bytes:
    try:
        return msgspec.json.encode(entry)
    except (TypeError, ValueError):  # surrogates, say
        return json.dumps(entry, default=str).encode()


def _time(seconds: float) -> str:
    second = int(seconds)
    return f"{_second(second)}.{int((seconds - second) * 1000):03d}+00:00"


@lru_cache(1)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _milliseconds(seconds: float) -> float:
    return round(seconds * 1000, 1)
