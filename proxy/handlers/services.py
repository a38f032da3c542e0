"""What the handlers work with, made once a worker."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from weakref import WeakSet

from tornado.iostream import BaseIOStream

from proxy.catalog import Catalog
from proxy.config import Config
from proxy.credentials import CredentialsProvider
from proxy.exposition import Exposition
from proxy.figures import Figures
from proxy.guesses import Guesses
from proxy.keys import KeyRing
from proxy.limits import Limits
from proxy.metrics import Metrics
from proxy.models import Models
from proxy.objects import Objects
from proxy.pacing import Pace
from proxy.sagemaker import SageMaker
from proxy.sealing import Seal

if TYPE_CHECKING:  # its library, which nothing else needs
    from proxy.traces import Traces

# An error takes a third of the time of an answer. Clients that are refused and ask again at once
# would leave no time for those that can be served.
_ERRORS_PER_SECOND = 300.0
_MOST_PAUSE_SECONDS = 4.0


def _error_pace() -> Pace:
    return Pace(_ERRORS_PER_SECOND, _MOST_PAUSE_SECONDS)


@dataclass(slots=True)
class WorkerState:
    """What the worker knows of itself. To be made inside a running loop."""

    draining: bool = False
    leaving: bool = False  # it serves on, but a load balancer is to send clients elsewhere
    closes_connections: bool = False  # each after its answer, whatever that promised
    connections: int = 0
    open_requests: int = 0
    open_streams: int = 0
    requests: int = 0  # since the start
    newest_began: float = 0.0  # the loop's time
    busy: set[BaseIOStream] = field(default_factory=set)  # connections with an open request
    # When a drain began, these were idle, and have been since.
    idle_connections: set[BaseIOStream] = field(default_factory=set)
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    # Until when each connection may take to send what is to come; none while an answer is.
    deadlines: dict[BaseIOStream, float] = field(default_factory=dict)  # in the loop's time
    idle_seconds: float = 3600.0  # for a whole head
    body_seconds: float = 3600.0  # for a whole body, from then on
    # To take a large form apart takes its size in memory a few times, for a moment.
    large_form: asyncio.Lock = field(default_factory=asyncio.Lock)
    # Connections over server.max_connections: each is told so, and sent away.
    excess_connections: WeakSet[BaseIOStream] = field(default_factory=WeakSet)
    # Of connections that were answered with an error: when the next request of each is read.
    error_pace: Pace = field(default_factory=_error_pace)

    def expect_request(self, stream: BaseIOStream) -> None:
        """A request may come, in time."""
        self.deadlines[stream] = asyncio.get_running_loop().time() + self.idle_seconds

    def request_began(self, stream: BaseIOStream) -> None:
        """Count a request in."""
        self.busy.add(stream)
        self.idle_connections.discard(stream)
        self.newest_began = asyncio.get_running_loop().time()
        self.deadlines[stream] = self.newest_began + self.body_seconds
        self.open_requests += 1
        self.requests += 1
        self.idle.clear()

    def request_received(self, stream: BaseIOStream) -> None:
        """A request is whole."""
        if stream in self.busy:
            self.deadlines.pop(stream, None)

    def request_ended(self, stream: BaseIOStream) -> None:
        """Count a request out."""
        self.busy.discard(stream)
        if not stream.closed():
            self.expect_request(stream)
        self.open_requests -= 1
        if self.open_requests == 0:
            self.idle.set()

    async def wait_idle(self, seconds: float) -> None:
        """Return when no request is open, or the time is over."""
        if self.open_requests:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.idle.wait(), seconds)


@dataclass(frozen=True, slots=True)
class Services:
    """The domain, ready to use."""

    config: Config
    keys: KeyRing
    guesses: Guesses
    limits: Limits
    credentials: CredentialsProvider
    catalog: Catalog
    models: Models
    sagemaker: SageMaker
    objects: Objects
    seal: Seal | None  # None: no place for its key, so nothing is sealed
    metrics: Metrics
    figures: Figures
    exposition: Exposition
    traces: Traces | None  # None: no collector is configured
    certificate_expires: float | None  # in seconds since the epoch
    state: WorkerState
