"""Keeps the workers running, reloads them on request, and tells systemd how they are."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time

from proxy import __version__
from proxy.log import log_fields
from proxy.startup import StartFailed
from proxy.systemd import Notifier
from proxy.worker_process import HEARTBEAT_SECONDS
from proxy.workers import Workers

logger = logging.getLogger(__name__)


class Supervisor:
    """Serves until SIGTERM; reloads on SIGHUP."""

    def __init__(self, workers: Workers, notifier: Notifier, url: str) -> None:
        """``url`` is for the log."""
        self._workers = workers
        self._notifier = notifier
        self._url = url
        self._signalled = asyncio.Event()  # to reload
        self._reloading = asyncio.Lock()
        self._stop = asyncio.Event()
        self._ticked = 0.0
        self._reload_failure: str | None = None

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises ``StartFailed`` if the first start fails."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._signalled.set)

        starting = asyncio.create_task(self._workers.start())
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
        else:
            starting.result()
            self._ticked = time.monotonic()
            log_fields(
                logger,
                logging.INFO,
                "serving",
                version=__version__,
                url=self._url,
                workers=len(self._workers),
                **self._workers.details,
            )
            running = [
                asyncio.create_task(self._reload_on_signal()),
                asyncio.create_task(self._tick()),
            ]
            self._notifier.notify(READY=1, STATUS=self._status(0))
            await asyncio.wait((stopped, *running), return_when=asyncio.FIRST_COMPLETED)
            for task in running:
                if task.done():  # neither ends by itself
                    logger.error("unforeseen error in the supervisor", exc_info=task.exception())
                task.cancel()
        await self._end()

    async def reload(self) -> str | None:
        """Replace the workers by new ones. None, or why the old ones go on."""
        async with self._reloading:
            microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            self._notifier.notify(RELOADING=1, MONOTONIC_USEC=microseconds)
            log_fields(logger, logging.INFO, "reloading")
            try:
                await self._workers.roll()
            except StartFailed as exc:
                self._reload_failure = str(exc)
                log_fields(
                    logger,
                    logging.ERROR,
                    "the reload failed; the workers that run go on",
                    reason=self._reload_failure,
                )
            else:
                self._reload_failure = None
                log_fields(logger, logging.INFO, "reloaded", **self._workers.details)
            self._notifier.notify(READY=1, STATUS=self._status(0))
            return self._reload_failure

    async def _reload_on_signal(self) -> None:
        while True:
            await self._signalled.wait()
            self._signalled.clear()
            await self.reload()

    async def _tick(self) -> None:
        before = 0
        while True:
            # Late: the whole machine stood still, and the workers' word is still to be read.
            if time.monotonic() - self._ticked > 3 * HEARTBEAT_SECONDS:
                self._workers.excuse()
            self._ticked = time.monotonic()
            self._workers.kill_hung()
            total = self._workers.requests
            status = self._status(max(total - before, 0) / HEARTBEAT_SECONDS)
            before = total
            if self._notifier.watchdog_seconds is None:
                self._notifier.notify(STATUS=status)
            else:
                self._notifier.notify(STATUS=status, WATCHDOG=1)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def _status(self, requests_a_second: float) -> str:
        release = self._workers.details.get("release")
        failure = self._reload_failure
        return f"{release}: {self._workers}, {requests_a_second:.0f} a second" + (
            f"; the last reload failed: {failure.splitlines()[0]}" if failure else ""
        )

    async def _end(self) -> None:
        """Let every worker drain, and end; at once if asked again."""
        self._notifier.notify(STOPPING=1)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            loop.add_signal_handler(number, self._end_now, number)
        await self._workers.end()
        log_fields(logger, logging.INFO, "ended")

    def _end_now(self, number: signal.Signals) -> None:
        self._workers.kill()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
