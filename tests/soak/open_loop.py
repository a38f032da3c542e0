"""Offers requests at a constant rate, answered or not, as many independent clients do."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import aiohttp

from tests.integration.running import RunningProxy

_HEALTH_SECONDS = 0.25


@dataclass(frozen=True)
class Answer:
    """What came of one request, `took` seconds after it was `due`; status 0 if nothing did."""

    status: int
    due: float
    took: float
    retry_after: str = ""


@dataclass
class Offered:
    """What came of all of them, and of the health checks meanwhile."""

    began: float
    seconds: float
    answers: list[Answer] = field(default_factory=list)
    health: list[Answer] = field(default_factory=list)

    def with_status(self, status: int) -> list[Answer]:
        """Return those answers."""
        return [each for each in self.answers if each.status == status]

    @property
    def statuses(self) -> Counter[int]:
        """How many there were of each."""
        return Counter(each.status for each in self.answers)

    @property
    def goodput(self) -> float:
        """Answers of 200 a second, while others were offered."""
        end = self.began + self.seconds
        in_time = [each for each in self.with_status(200) if each.due + each.took <= end]
        return len(in_time) / self.seconds


class OpenLoop:
    """Clients of one proxy, which take a new connection where none is free, or for each request."""

    def __init__(
        self,
        proxy: RunningProxy,
        path: str,
        body: bytes,
        keep_alive: bool = True,
        patience_seconds: float = 60.0,
    ) -> None:
        self._url = proxy.url
        self._path = path
        self._body = body
        self._headers = {**proxy.headers, "Content-Type": "application/json"}
        self._tls = proxy.client_context()
        self._keep_alive = keep_alive
        self._patience_seconds = patience_seconds

    async def offer(self, rate: float, seconds: float) -> Offered:
        """Send so many a second, and wait for what comes of each; ask for the health, too."""
        offered = Offered(time.monotonic(), seconds)
        async with self._session() as session, asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(self._watch_health(offered))
            requests = []
            for number in range(round(rate * seconds)):
                due = offered.began + number / rate
                await asyncio.sleep(max(due - time.monotonic(), 0))
                requests.append(tasks.create_task(self._ask(session, due, offered)))
            await asyncio.wait(requests)
            watching.cancel()
        return offered

    async def measure_capacity(self, clients: int, seconds: float) -> float:
        """Return answers of 200 a second where each client waits for one before it asks again."""
        offered = Offered(time.monotonic(), seconds)
        end = offered.began + seconds

        async def ask_on() -> None:
            while time.monotonic() < end:
                await self._ask(session, time.monotonic(), offered)

        async with self._session() as session, asyncio.TaskGroup() as tasks:
            for _ in range(clients):
                tasks.create_task(ask_on())
        return offered.goodput

    async def ask_once(self) -> Answer:
        """Send one, over a connection of its own."""
        offered = Offered(time.monotonic(), 0)
        async with self._session() as session:
            await self._ask(session, time.monotonic(), offered)
        return offered.answers[0]

    async def _ask(self, session: aiohttp.ClientSession, due: float, offered: Offered) -> None:
        url = self._url + self._path
        request = session.post(url, data=self._body, headers=self._headers)
        offered.answers.append(await _answer(request, due))

    async def _watch_health(self, offered: Offered) -> None:
        while True:
            async with self._session() as session:  # a load balancer keeps no connection
                request = session.get(f"{self._url}/healthz")
                offered.health.append(await _answer(request, time.monotonic()))
            await asyncio.sleep(_HEALTH_SECONDS)

    def _session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=self._tls, limit=0, force_close=not self._keep_alive
            ),
            timeout=aiohttp.ClientTimeout(total=self._patience_seconds),
        )


async def _answer(request: "aiohttp.client._RequestContextManager", due: float) -> Answer:
    headers: Mapping[str, str] = {}
    try:
        async with request as response:
            await response.read()
            status, headers = response.status, response.headers
    except (aiohttp.ClientError, OSError, TimeoutError):
        status = 0
    return Answer(status, due, time.monotonic() - due, headers.get("Retry-After", ""))
