"""Which endpoints exist: listed and described in threads, kept fresh in the background."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from proxy.config import CatalogConfig
from proxy.errors import Unavailable
from proxy.log import log_fields

logger = logging.getLogger(__name__)

# What SageMaker accepts as an endpoint's name (EndpointName in its API reference).
_NAME = re.compile(r"[a-zA-Z0-9](?:-*[a-zA-Z0-9]){0,62}", re.ASCII)
_MAX_NAME_LENGTH = 63

# Refreshes that unknown names ask for start at least this far apart, so that a client with a
# wrong name in a loop does not use up the account's ListEndpoints rate.
_MISS_INTERVAL_SECONDS = 1.0

# How long a request waits for the control plane.
_WAIT_SECONDS = 5.0

_THREADS = 4

_LOGGED_REASONS = 5


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One endpoint, as ListEndpoints has it."""

    name: str
    status: str
    created: datetime
    modified: datetime


@dataclass(frozen=True, slots=True)
class Description:
    """What runs behind an endpoint. Any of it may be absent.

    A serverless endpoint has no instance type; one of inference components has no model of its
    own; of several containers, the first is told.
    """

    instance_type: str | None = None
    image: str | None = None
    environment: dict[str, str] = field(default_factory=dict, repr=False)


class Catalog:
    """The endpoints of this account and region, as of the last successful refresh."""

    def __init__(self, control_plane: Callable[[], Any], config: CatalogConfig) -> None:
        """``control_plane`` returns the boto3 client ``sagemaker``; it may block."""
        self._control_plane = control_plane
        self._config = config
        self._endpoints: dict[str, Endpoint] = {}
        self._descriptions: dict[str, tuple[datetime, Description]] = {}
        self._loaded = False
        self._problem: str | None = None
        self._undescribed: list[str] = []
        self._refreshing: asyncio.Task[None] | None = None
        self._describing: asyncio.Task[None] | None = None
        self._listing = asyncio.Lock()
        self._next_miss = 0.0
        self._task: asyncio.Task[None] | None = None
        # Threads of its own: a control plane that hangs holds up nothing but the catalogue.
        self._executor = ThreadPoolExecutor(_THREADS + 1, thread_name_prefix="catalog")
        self._describe_slots = asyncio.Semaphore(_THREADS)

    def start(self) -> None:
        """Begin to refresh in the background, now and every ``refresh_seconds``."""
        self._task = asyncio.create_task(self._keep_fresh(), name="catalog")

    async def stop(self) -> None:
        """End the refreshing."""
        for task in (self._task, self._refreshing, self._describing):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        self._executor.shutdown(wait=False, cancel_futures=True)

    @property
    def loaded(self) -> bool:
        """Whether the endpoints have been listed at least once."""
        return self._loaded

    @property
    def problem(self) -> str | None:
        """Why the last refresh failed; None when it did not."""
        return self._problem

    async def endpoints(self) -> list[Endpoint]:
        """All endpoints, by name. Raises ``Unavailable`` while they have never been listed."""
        if not self._loaded:
            await self._refresh_for_miss()
        self._check_loaded()
        return sorted(self._endpoints.values(), key=lambda endpoint: endpoint.name)

    async def find(self, name: str) -> Endpoint | None:
        """The endpoint ``name``; a name not yet known asks the control plane once more.

        All who wait share that one refresh. Raises ``Unavailable`` as ``endpoints`` does.
        """
        if name not in self._endpoints and is_endpoint_name(name):
            await self._refresh_for_miss()
            self._check_loaded()
        return self._endpoints.get(name)

    async def exists(self, name: str) -> bool:
        """Whether a call to ``name`` is worth sending.

        While the control plane does not answer, SageMaker itself has to say.
        """
        if name in self._endpoints:
            return True
        if not is_endpoint_name(name):
            return False
        if not self._loaded or self._problem:
            return True
        return not await self._refresh_for_miss() or name in self._endpoints

    async def descriptions(self) -> list[tuple[Endpoint, Description]]:
        """All endpoints with what runs behind them; waits for descriptions under way.

        Raises ``Unavailable`` as ``endpoints`` does.
        """
        endpoints = await self.endpoints()
        if self._describing is not None:
            await asyncio.wait([self._describing], timeout=_WAIT_SECONDS)
        unknown = (None, Description())
        return [
            (endpoint, self._descriptions.get(endpoint.name, unknown)[1]) for endpoint in endpoints
        ]

    def _check_loaded(self) -> None:
        if not self._loaded:
            raise Unavailable(
                "the endpoints cannot be listed at the moment", headers={"Retry-After": "5"}
            )

    async def _keep_fresh(self) -> None:
        while True:
            await self._refresh()
            await asyncio.sleep(self._config.refresh_seconds)

    async def _refresh_for_miss(self) -> bool:
        """Refresh, together with all who ask meanwhile; whether that succeeded in time."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._refresh_after_interval())
        done, _ = await asyncio.wait([self._refreshing], timeout=_WAIT_SECONDS)
        return bool(done) and self._problem is None

    async def _refresh_after_interval(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0, self._next_miss - loop.time()))
        self._next_miss = loop.time() + _MISS_INTERVAL_SECONDS
        await self._refresh()

    async def _refresh(self) -> None:
        async with self._listing:
            try:
                endpoints = await self._in_thread(_list_endpoints, self._control_plane)
            except Exception as exc:
                self._report(f"cannot list the endpoints: {exc}", exc)
                return
            if self._problem:
                log_fields(logger, logging.INFO, "the catalogue is fresh again")
            self._endpoints = {endpoint.name: endpoint for endpoint in endpoints}
            self._loaded, self._problem = True, None
        if self._describing is None or self._describing.done():
            self._describing = asyncio.create_task(self._describe(endpoints), name="describe")

    def _report(self, problem: str, exc: Exception) -> None:
        """Log a failed refresh, once for as long as it fails in the same way."""
        if problem != self._problem:
            log_fields(logger, logging.ERROR, "the catalogue is stale", reason=problem)
            if not isinstance(exc, BotoCoreError | ClientError | OSError):
                logger.error("unexpected answer of the control plane", exc_info=exc)
        self._problem = problem

    async def _describe(self, endpoints: list[Endpoint]) -> None:
        """Describe what is new or has changed, forget what is gone."""
        self._descriptions = {
            endpoint.name: known
            for endpoint in endpoints
            if (known := self._descriptions.get(endpoint.name)) and known[0] == endpoint.modified
        }
        changed = [item for item in endpoints if item.name not in self._descriptions]
        results = await asyncio.gather(*map(self._describe_one, changed), return_exceptions=True)
        reasons = sorted({str(result) for result in results if isinstance(result, Exception)})
        if reasons != self._undescribed:
            self._undescribed = reasons
            for reason in reasons[:_LOGGED_REASONS]:
                log_fields(logger, logging.WARNING, "cannot describe an endpoint", reason=reason)

    async def _describe_one(self, endpoint: Endpoint) -> None:
        async with self._describe_slots:
            description = await self._in_thread(
                _describe_endpoint, self._control_plane, endpoint.name
            )
        self._descriptions[endpoint.name] = (endpoint.modified, description)

    async def _in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._executor, function, *args)


def is_endpoint_name(name: str) -> bool:
    """Whether SageMaker could have an endpoint of this name."""
    return len(name) <= _MAX_NAME_LENGTH and _NAME.fullmatch(name) is not None


def _list_endpoints(control_plane: Callable[[], Any]) -> list[Endpoint]:
    pages = control_plane().get_paginator("list_endpoints").paginate(PaginationConfig={})
    return [
        Endpoint(
            name=item["EndpointName"],
            status=item["EndpointStatus"],
            created=item["CreationTime"],
            modified=item["LastModifiedTime"],
        )
        for page in pages
        for item in page["Endpoints"]
    ]


def _describe_endpoint(control_plane: Callable[[], Any], name: str) -> Description:
    client = control_plane()
    endpoint = client.describe_endpoint(EndpointName=name)
    config = client.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    variants = config.get("ProductionVariants") or [{}]
    variant = variants[0]
    container: dict[str, Any] = {}
    if model_name := variant.get("ModelName"):
        model = client.describe_model(ModelName=model_name)
        container = model.get("PrimaryContainer") or (model.get("Containers") or [{}])[0]
    return Description(
        instance_type=variant.get("InstanceType"),
        image=container.get("Image"),
        environment=dict(container.get("Environment") or {}),
    )
