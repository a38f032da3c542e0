"""What is deployed, as of the last refresh: listed and described in threads, off the loop."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from proxy import control_plane
from proxy.config import CatalogConfig
from proxy.control_plane import (
    ControlPlane,
    Deployment,
    Description,
    InferenceComponent,
)
from proxy.errors import Unavailable
from proxy.log import log_fields
from proxy.names import is_deployment_name

logger = logging.getLogger(__name__)

# Refreshes that unknown names ask for start at least this far apart, so that a client with a
# wrong name in a loop does not use up the account's ListEndpoints rate.
_MISS_INTERVAL_SECONDS = 1.0

# While nothing is known at all.
_FIRST_RETRY_SECONDS = 2.0

_STARTING = frozenset({"Creating", "Updating"})

# How long a request waits for the control plane.
_WAIT_SECONDS = 5.0

_THREADS = 4

_LOGGED_REASONS = 5


class Catalog:
    """The endpoints and inference components of this account and region."""

    def __init__(self, client: ControlPlane, config: CatalogConfig) -> None:
        """``client`` may block."""
        self._client = client
        self._config = config
        self._deployments: dict[str, Deployment] = {}
        self._descriptions: dict[str, tuple[datetime, Description]] = {}
        self._loaded = False
        self._listed_at = 0.0
        self._problem: str | None = None
        self._undescribed: dict[str, str] = {}
        self._no_components: str | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._describing: dict[str, asyncio.Task[None]] = {}
        self._listing = asyncio.Lock()
        self._next_miss = 0.0
        self._tried = asyncio.Event()  # to list the endpoints
        self._first_until = 0.0
        self._task: asyncio.Task[None] | None = None
        # Threads of its own: a control plane that hangs holds up nothing but the catalogue.
        self._executor = ThreadPoolExecutor(_THREADS + 1, thread_name_prefix="catalog")
        self._describe_slots = asyncio.Semaphore(_THREADS)

    def start(self) -> None:
        """Begin to refresh in the background, now and every ``refresh_seconds``."""
        self._first_until = asyncio.get_running_loop().time() + _WAIT_SECONDS
        self._task = asyncio.create_task(self._keep_fresh(), name="catalog")

    async def stop(self) -> None:
        """End the refreshing."""
        for task in (self._task, self._refreshing, *self._describing.values()):
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
    def age_seconds(self) -> float | None:
        """How long ago the endpoints were listed; None while they never were."""
        return time.monotonic() - self._listed_at if self._loaded else None

    @property
    def whole(self) -> bool:
        """Whether the inference components could be listed, too."""
        return self._no_components is None

    @property
    def problem(self) -> str | None:
        """Why the last refresh failed; None when it did not."""
        return self._problem

    async def deployments(self) -> list[Deployment]:
        """All of them, by name. Raises ``Unavailable`` while they have never been listed."""
        if not self._loaded:
            await self._refresh_for_miss()
        self._check_loaded()
        return sorted(self._deployments.values(), key=lambda deployment: deployment.name)

    async def find(self, name: str) -> Deployment | None:
        """The deployment ``name``; a name not yet known asks the control plane once more.

        All who wait share that one refresh. Raises ``Unavailable`` as ``deployments`` does.
        """
        if name not in self._deployments and is_deployment_name(name):
            await self._refresh_for_miss()
            self._check_loaded()
        return self._deployments.get(name)

    def status(self, name: str) -> str | None:
        """The status of the deployment ``name``; None where it is not known."""
        known = self._deployments.get(name)
        return known.status if known else None

    def is_starting(self, name: str) -> bool:
        """Whether the deployment ``name``, or the endpoint that it is on, is being made ready."""
        return any(self.status(each) in _STARTING for each in (name, name.partition("/")[0]))

    def description(self, name: str) -> Description:
        """What is known of the deployment ``name`` by now, be it nothing.

        One that has changed stays as it was known until it has been looked at again.
        """
        return self._descriptions.get(name, (None, Description()))[1]

    async def until_described(self, names: Iterable[str]) -> None:
        """Wait until those that nothing is known of have been looked at, within a bound.

        Until the first listing, nothing is known of any; that one is waited for only so long, from
        the start on, as it takes where all is well.
        """
        names = [name for name in names if name not in self._descriptions]
        if not names:
            return
        seconds = self._first_until - asyncio.get_running_loop().time()
        if not self._tried.is_set() and seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._tried.wait(), seconds)
        new = {self._describing.get(name) for name in names if name not in self._descriptions}
        await _wait(task for task in new if task)

    async def exists(self, name: str) -> bool:
        """Whether a call to ``name`` is worth sending.

        While the control plane does not answer, SageMaker itself has to say.
        """
        if name in self._deployments:
            return True
        if not is_deployment_name(name):
            return False
        if not self._loaded or self._problem:
            return True
        endpoint, _, component = name.partition("/")
        if component and self._no_components:
            return endpoint in self._deployments
        return not await self._refresh_for_miss() or name in self._deployments

    async def descriptions(self) -> list[tuple[Deployment, Description]]:
        """All deployments with what they run; waits for descriptions under way.

        Raises ``Unavailable`` as ``deployments`` does.
        """
        deployments = await self.deployments()
        await _wait(self._describing.values())
        return [(deployment, self.description(deployment.name)) for deployment in deployments]

    def _check_loaded(self) -> None:
        if not self._loaded:
            raise Unavailable(
                "the endpoints cannot be listed at the moment", headers={"Retry-After": "5"}
            )

    async def _keep_fresh(self) -> None:
        while True:
            await self._refresh()
            self._tried.set()
            seconds = self._config.refresh_seconds
            await asyncio.sleep(seconds if self._loaded else min(seconds, _FIRST_RETRY_SECONDS))

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
                endpoints = await self._in_thread(control_plane.list_endpoints)
            except Exception as exc:
                self._report(f"cannot list the endpoints: {exc}", exc)
                return
            components = await self._list_components()
            if self._problem:
                log_fields(logger, logging.INFO, "the catalogue is fresh again")
            deployments: list[Deployment] = [*endpoints, *components]
            self._deployments = {deployment.name: deployment for deployment in deployments}
            self._loaded, self._problem = True, None
            self._listed_at = time.monotonic()
        self._describe(deployments)

    async def _list_components(self) -> list[InferenceComponent]:
        """Those there are; where they cannot be listed, those of before. Endpoints do without."""
        try:
            components: list[InferenceComponent] = await self._in_thread(
                control_plane.list_inference_components
            )
        except Exception as exc:
            problem = f"cannot list the inference components: {exc}"
            if problem != self._no_components:
                log_fields(logger, logging.WARNING, "the catalogue is not whole", reason=problem)
            self._no_components = problem
            known = self._deployments.values()
            return [each for each in known if isinstance(each, InferenceComponent)]
        self._no_components = None
        return components

    def _report(self, problem: str, exc: Exception) -> None:
        """Log a failed refresh, once for as long as it fails in the same way."""
        if problem != self._problem:
            log_fields(logger, logging.ERROR, "the catalogue is stale", reason=problem)
            if not isinstance(exc, BotoCoreError | ClientError | OSError):
                logger.error("unexpected answer of the control plane", exc_info=exc)
        self._problem = problem

    def _describe(self, deployments: list[Deployment]) -> None:
        """Forget what is gone, and begin to describe what is new or has changed."""
        for known in (self._descriptions, self._undescribed):
            for name in known.keys() - self._deployments.keys():
                del known[name]
        for item in deployments:
            modified = self._descriptions.get(item.name, (None,))[0]
            if modified != item.modified and item.name not in self._describing:
                task = asyncio.create_task(self._describe_one(item), name=f"describe {item.name}")
                self._describing[item.name] = task

    async def _describe_one(self, deployment: Deployment) -> None:
        name = deployment.name
        try:
            async with self._describe_slots:
                description = await self._in_thread(control_plane.describe, deployment)
            self._descriptions[name] = (deployment.modified, description)
            self._undescribed.pop(name, None)
        except Exception as exc:
            self._report_undescribed(name, str(exc))
        finally:
            del self._describing[name]

    def _report_undescribed(self, name: str, reason: str) -> None:
        """Log why a model cannot be described, once for each reason, and no more than a few."""
        known = {*self._undescribed.values()}
        self._undescribed[name] = reason
        if reason not in known and len(known) < _LOGGED_REASONS:
            log_fields(logger, logging.WARNING, "cannot describe a model", reason=reason)

    async def _in_thread(self, call: Callable[..., Any], *args: Any) -> Any:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, call, self._client, *args)


async def _wait(tasks: Iterable[asyncio.Task[None]]) -> None:
    if tasks := [*tasks]:
        await asyncio.wait(tasks, timeout=_WAIT_SECONDS)
