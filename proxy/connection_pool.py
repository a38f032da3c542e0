"""The connections to SageMaker: kept, used again, and never more than so many."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque

from proxy.connection import Connection, Response
from proxy.dialing import dial


class ConnectFailed(OSError):
    """There is no connection, so nothing has been sent.

    ``is_final``: there will be none the next time.
    """

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final


class ConnectTimeout(ConnectFailed, TimeoutError):
    """The other side has not taken the connection in time."""


class ConnectionPool:
    """Sends requests to one host. To be made inside a running loop."""

    def __init__(
        self,
        host: str,
        port: int,
        ssl_context: ssl.SSLContext | None,
        *,
        most: int,
        connect_timeout_seconds: float,
        read_timeout_seconds: float,
        keep_alive_seconds: float,
    ) -> None:
        """Of ``most`` connections each serves one request; who finds none free waits in line."""
        self._host = host
        self._port = port
        self._ssl_context = ssl_context
        self._most = most
        self._connect_seconds = connect_timeout_seconds
        self._read_seconds = read_timeout_seconds
        self._keep_alive_seconds = keep_alive_seconds
        self._loop = asyncio.get_running_loop()
        self._taken = 0  # connections that there are, or that are being made
        self._all: set[Connection] = set()
        self._emptied = asyncio.Event()  # once there were some, and are none
        self._idle: deque[Connection] = deque()  # the last one used is at the end
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._expiring: asyncio.TimerHandle | None = None

    async def request(self, head: bytes, body: bytes) -> Response:
        """Send a request, and return when the head of its response is here.

        Raises ``ConnectFailed`` where nothing was sent, else ``ConnectionBroken`` and
        ``TimeoutError``.
        """
        return await (await self._acquire()).send(head, body)

    async def close(self) -> None:
        """End all connections."""
        if self._expiring is not None:
            self._expiring.cancel()
        for each in list(self._all):
            each.close()
        if self._all:
            await self._emptied.wait()

    async def _acquire(self) -> Connection:
        while True:
            while self._idle:
                connection = self._idle.pop()
                if connection.is_usable():
                    return connection
                connection.close()
            if self._taken < self._most:
                self._taken += 1
                return await self._open()
            turn: asyncio.Future[Connection | None] = self._loop.create_future()
            self._waiting.append(turn)
            try:
                given = await turn
            except asyncio.CancelledError:
                self._pass_on(turn)
                raise
            if given is None:
                return await self._open()
            if given.is_usable():
                return given
            given.close()

    async def _open(self) -> Connection:
        """Make one of those that are taken."""
        connection = Connection(self._read_seconds, self._free, self._lost)
        try:
            await self._connect(connection)
        except BaseException:
            connection.close()
            self._give_room()
            raise
        self._all.add(connection)
        self._emptied.clear()
        return connection

    async def _connect(self, connection: Connection) -> None:
        try:
            async with asyncio.timeout(self._connect_seconds):
                sock = await dial(self._host, self._port)
                try:
                    name = self._host if self._ssl_context else None
                    await self._loop.create_connection(
                        lambda: connection, sock=sock, ssl=self._ssl_context, server_hostname=name
                    )
                except BaseException:
                    sock.close()
                    raise
        except TimeoutError as exc:
            raise ConnectTimeout(f"no connection within {self._connect_seconds:g} s") from exc
        except OSError as exc:
            # A certificate that is refused will be so the next time.
            is_final = isinstance(exc, ssl.SSLError)
            raise ConnectFailed(f"{type(exc).__name__}: {exc}", is_final=is_final) from exc
        if not connection.is_open:
            raise ConnectFailed("the connection ended as soon as it was made")

    def _free(self, connection: Connection) -> None:
        """A connection may be used again."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return
        self._idle.append(connection)
        if self._expiring is None:
            self._expiring = self._loop.call_later(self._keep_alive_seconds, self._expire)

    def _lost(self, connection: Connection) -> None:
        """A connection has ended."""
        if connection in self._all:
            self._all.discard(connection)
            if not self._all:
                self._emptied.set()
            self._give_room()
            if connection in self._idle:
                self._idle.remove(connection)

    def _give_room(self) -> None:
        """There is room for one connection, which the first in line may make."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._taken -= 1

    def _pass_on(self, turn: asyncio.Future[Connection | None]) -> None:
        """Who waited has gone; if it had its turn by then, that is another's."""
        if not turn.done() or turn.cancelled():
            return
        connection = turn.result()
        if connection is None:
            self._give_room()
        elif connection.is_open:
            self._free(connection)

    def _expire(self) -> None:
        """End the connections that nobody has used for so long; the other side would, too."""
        self._expiring = None
        oldest = self._loop.time() - self._keep_alive_seconds
        while self._idle and self._idle[0].idle_since <= oldest:
            self._idle.popleft().close()
        if self._idle:
            seconds = self._idle[0].idle_since - oldest
            self._expiring = self._loop.call_later(seconds, self._expire)
