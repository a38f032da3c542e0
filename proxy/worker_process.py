"""A worker as the supervisor sees it: a process with sockets, and a channel it reports on."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

HEARTBEAT_SECONDS = 1.0

# Asks a worker to drain gently, for another has taken its place. SIGTERM: to drain and end.
RETIRE = signal.SIGUSR1

# How long a worker that has been replaced keeps a connection that is idle: a client may be sending
# on it already.
LINGER_SECONDS = 5.0

# Has a worker not start without them: it is to take the place of one that has some.
NEEDS_CREDENTIALS = ("--needs-credentials",)

# A worker that has said nothing for so long is taken for hung.
HUNG_SECONDS = 5.0


class WorkerProcess:
    """A fresh ``exec`` of the current code, which inherits its listening sockets."""

    def __init__(
        self, slot: int, column: int, process: asyncio.subprocess.Process, report: Any
    ) -> None:
        self.slot = slot
        self.column = column
        self.pid = process.pid
        self.began = time.monotonic()
        self.details: dict[str, object] = {}
        self.failure: str | None = None
        self.open_requests = 0
        self.requests = 0
        self.has_credentials = False  # to sign with
        self._process = process
        self._heard = time.monotonic()
        self._settled = asyncio.Event()  # ready, failed or gone
        self._ready = False
        self._retired = asyncio.Event()  # or gone
        self._reading = asyncio.create_task(self._read(report))

    @classmethod
    async def start(
        cls,
        slot: int,
        column: int,
        sockets: Sequence[socket.socket],
        arguments: Sequence[str],
    ) -> WorkerProcess:
        """Start one, to which ``column`` belongs of what all workers share.

        ``arguments`` are those of the command line that all have.
        """
        ours, theirs = socket.socketpair()
        # Where the path leads now: the link to the current release may be moved while it runs, and
        # what it imports late has to be of its own release.
        executable = Path(sys.executable)
        try:
            fds = [each.fileno() for each in sockets]
            process = await asyncio.create_subprocess_exec(
                str(executable.parent.resolve() / executable.name),
                *("-m", "proxy.server", "--report-to", str(theirs.fileno())),
                *("--sockets", *map(str, fds)),
                *("--column", str(column)),
                *arguments,
                pass_fds=[*fds, theirs.fileno()],
                stdin=asyncio.subprocess.DEVNULL,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        return cls(slot, column, process, (reader, writer))

    async def wait_ready(self, seconds: float) -> bool:
        """Whether it says that it is ready to serve, within so many seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), seconds)
        return self._ready

    async def wait_retired(self, seconds: float) -> None:
        """Return when it accepts no more connections, or the time is over."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._retired.wait(), seconds)

    async def wait(self) -> None:
        """Return when it has ended."""
        await self._process.wait()
        await self._reading

    @property
    def status(self) -> int | None:
        """Its exit status; None while it runs."""
        return self._process.returncode

    @property
    def is_hung(self) -> bool:
        """Whether it was ready and has fallen silent."""
        return self._ready and time.monotonic() - self._heard > HUNG_SECONDS

    def excuse(self) -> None:
        """Take it for heard from, just now."""
        self._heard = time.monotonic()

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def _read(self, report: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        reader, writer = report
        with suppress(OSError, ValueError):
            async for line in reader:
                self._take(json.loads(line))
        writer.close()
        self._settled.set()
        self._retired.set()

    def _take(self, report: dict[str, Any]) -> None:
        self._heard = time.monotonic()
        if "ready" in report:
            self.details, self._ready = report["ready"], True
            self._settled.set()
        elif "failed" in report:
            self.failure = str(report["failed"])
        elif "retired" in report:
            self._retired.set()
        elif "open_requests" in report:
            self.open_requests, self.requests = report["open_requests"], report["requests"]
            self.has_credentials = bool(report.get("has_credentials"))
        # Anything else is of a newer release than this supervisor, which stays over reloads.


class Reporter:
    """The worker's end of the channel."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)
        self._socket.set_inheritable(False)

    def ready(self, **details: object) -> None:
        """Say that this worker serves from now on."""
        self._send({"ready": details})

    def failed(self, reason: str) -> None:
        """Say why this worker cannot serve."""
        self._send({"failed": reason})

    def retired(self) -> None:
        """Say that this worker accepts no more connections."""
        self._send({"retired": True})

    def beat(self, *, open_requests: int, requests: int, has_credentials: bool) -> None:
        """Say that this worker lives, what it does, and whether it can sign calls."""
        self._send(
            {
                "open_requests": open_requests,
                "requests": requests,
                "has_credentials": has_credentials,
            }
        )

    async def wait_for_end(self) -> None:
        """Return when the supervisor is gone."""
        self._socket.setblocking(False)
        with suppress(OSError):
            await asyncio.get_running_loop().sock_recv(self._socket, 1)

    def _send(self, report: dict[str, object]) -> None:
        with suppress(OSError):
            self._socket.send(json.dumps(report).encode() + b"\n")
