"""What the handlers work with, made once a worker."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from weakref import WeakSet

from tornado.iostream import BaseIOStream

from proxy.catalog import Catalog
from proxy.config import Config
from proxy.credentials import CredentialsProvider
from proxy.keys import KeyRing
from proxy.sagemaker import SageMaker


@dataclass(slots=True)
class WorkerState:
    """What the worker knows of itself. To be made inside a running loop."""

    draining: bool = False
    open_requests: int = 0
    requests: int = 0  # since the start
    idle: asyncio.Event = field(default_factory=asyncio.Event)
    # Connections over server.max_connections: each is told so, and sent away.
    excess_connections: WeakSet[BaseIOStream] = field(default_factory=WeakSet)

    def request_began(self) -> None:
        """Count a request in."""
        self.open_requests += 1
        self.requests += 1
        self.idle.clear()

    def request_ended(self) -> None:
        """Count a request out."""
        self.open_requests -= 1
        if self.open_requests == 0:
            self.idle.set()


@dataclass(frozen=True, slots=True)
class Services:
    """The domain, ready to use."""

    config: Config
    keys: KeyRing
    credentials: CredentialsProvider
    catalog: Catalog
    sagemaker: SageMaker
    state: WorkerState
