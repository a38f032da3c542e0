"""Runs, replaces and rolls the workers, owns their listening sockets, and talks to systemd."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from proxy import __version__
from proxy.log import log_fields
from proxy.startup import StartFailed
from proxy.systemd import Notifier
from proxy.worker_process import HEARTBEAT_SECONDS, LINGER_SECONDS, RETIRE, WorkerProcess

logger = logging.getLogger(__name__)

_START_SECONDS = 60.0

# A worker that lived so long was no failure of its start.
_SETTLED_SECONDS = 10.0
_MOST_BACK_OFF_SECONDS = 30.0

# Beyond its drain, what a worker may take to end before it is killed.
_END_SECONDS = 5.0


class Supervisor:
    """A worker for each group of sockets, until SIGTERM; new ones on SIGHUP."""

    def __init__(
        self,
        sockets: list[list[socket.socket]],
        arguments: Sequence[str],
        notifier: Notifier,
        url: str,
    ) -> None:
        """``arguments`` are passed on to each worker; ``url`` is for the log."""
        self._sockets = sockets
        self._arguments = arguments
        self._notifier = notifier
        self._url = url
        self._workers: dict[int, WorkerProcess] = {}
        self._all: set[WorkerProcess] = set()  # those that start or drain, too
        self._tasks: set[asyncio.Task[None]] = set()
        self._replacing: dict[int, asyncio.Task[None]] = {}
        self._failures: dict[int, int] = {}
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

        starting = asyncio.create_task(self._start_generation())
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
        else:
            for worker in starting.result().values():
                self._install(worker)
            details = self._workers[0].details
            self._ticked = time.monotonic()
            log_fields(
                logger,
                logging.INFO,
                "serving",
                version=__version__,
                url=self._url,
                workers=len(self._workers),
                **details,
            )
            running = [self._spawn(self._reload_on_signal()), self._spawn(self._tick())]
            self._notifier.notify(READY=1, STATUS=self._status(0))
            await stopped
            for task in (*running, *self._replacing.values()):
                task.cancel()
        await self._end()

    async def _start_generation(self) -> dict[int, WorkerProcess]:
        """A new worker for every slot, all ready; the first alone, so that a fault shows once."""
        first = await self._start_worker(0)
        others = await asyncio.gather(
            *(self._start_worker(slot) for slot in range(1, len(self._sockets))),
            return_exceptions=True,
        )
        workers = [first, *(each for each in others if isinstance(each, WorkerProcess))]
        for failure in others:
            if isinstance(failure, BaseException):
                for worker in workers:  # each may have taken requests already
                    self._spawn(self._let_drain(worker, RETIRE))
                raise failure
        return {worker.slot: worker for worker in workers}

    async def _start_worker(self, slot: int) -> WorkerProcess:
        try:
            worker = await WorkerProcess.start(slot, self._sockets[slot], self._arguments)
        except OSError as exc:
            raise StartFailed(f"cannot start a worker: {exc}") from exc
        self._all.add(worker)
        self._spawn(self._watch(worker))
        if not await worker.wait_ready(_START_SECONDS):
            worker.send_signal(signal.SIGKILL)
            raise StartFailed(worker.failure or "a worker ended before it was ready")
        log_fields(logger, logging.INFO, "a worker is ready", worker=slot, worker_pid=worker.pid)
        return worker

    async def _watch(self, worker: WorkerProcess) -> None:
        """Wait for a worker's end; replace it if nobody asked it to end."""
        await worker.wait()
        self._all.discard(worker)
        if self._workers.get(worker.slot) is worker:
            self._lose(worker)

    def _install(self, worker: WorkerProcess) -> None:
        self._workers[worker.slot] = worker
        if worker not in self._all:  # it has ended meanwhile
            self._lose(worker)

    def _lose(self, worker: WorkerProcess) -> None:
        if self._stop.is_set():
            return
        slot = worker.slot
        log_fields(
            logger,
            logging.ERROR,
            "a worker ended by itself",
            worker=slot,
            worker_pid=worker.pid,
            status=worker.status,
            requests_lost=worker.open_requests,
        )
        if time.monotonic() - worker.began > _SETTLED_SECONDS:
            self._failures[slot] = 0
        self._replacing[slot] = self._spawn(self._replace(slot))

    async def _replace(self, slot: int) -> None:
        while True:
            failures = self._failures.get(slot, 0)
            self._failures[slot] = failures + 1
            if failures:
                await asyncio.sleep(min(0.5 * 2 ** (failures - 1), _MOST_BACK_OFF_SECONDS))
            try:
                worker = await self._start_worker(slot)
            except StartFailed as exc:
                log_fields(logger, logging.ERROR, "a worker cannot start", reason=str(exc))
            else:
                self._install(worker)
                return

    async def _reload_on_signal(self) -> None:
        while True:
            await self._signalled.wait()
            self._signalled.clear()
            await self.reload()

    async def reload(self) -> str | None:
        """Replace the workers by new ones. None, or why the old ones go on."""
        async with self._reloading:
            microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            self._notifier.notify(RELOADING=1, MONOTONIC_USEC=microseconds)
            log_fields(logger, logging.INFO, "reloading")
            try:
                await self._roll()
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
                log_fields(logger, logging.INFO, "reloaded", **self._workers[0].details)
            self._notifier.notify(READY=1, STATUS=self._status(0))
            return self._reload_failure

    async def _roll(self) -> None:
        workers = await self._start_generation()
        for task in self._replacing.values():
            task.cancel()
        self._replacing.clear()
        self._failures.clear()
        # All others: those that served, and a replacement that was still starting.
        old = self._all.difference(workers.values())
        for worker in workers.values():
            self._install(worker)
        for worker in old:
            self._spawn(self._let_drain(worker, RETIRE))

    async def _let_drain(self, worker: WorkerProcess, number: signal.Signals) -> None:
        """Ask a worker to drain; end it if it takes longer than that may take."""
        worker.send_signal(number)
        seconds = float(str(worker.details.get("drain_seconds", 0))) + LINGER_SECONDS
        if number == RETIRE:  # each connection may have one more request, which may take as long
            seconds *= 2
        try:
            async with asyncio.timeout(seconds + _END_SECONDS):
                await worker.wait()
        except TimeoutError:
            worker.send_signal(signal.SIGKILL)

    async def _tick(self) -> None:
        before = 0
        while True:
            late = time.monotonic() - self._ticked > 3 * HEARTBEAT_SECONDS
            self._ticked = time.monotonic()
            for worker in tuple(self._all):
                if late:  # the whole machine stood still, and the worker's word is still to be read
                    worker.excuse()
                elif worker.is_hung:
                    log_fields(
                        logger, logging.ERROR, "a worker hangs; killing it", worker_pid=worker.pid
                    )
                    worker.send_signal(signal.SIGKILL)
            total = sum(worker.requests for worker in self._workers.values())
            status = self._status(max(total - before, 0) / HEARTBEAT_SECONDS)
            before = total
            if self._notifier.watchdog_seconds is None:
                self._notifier.notify(STATUS=status)
            else:
                self._notifier.notify(STATUS=status, WATCHDOG=1)
            await asyncio.sleep(HEARTBEAT_SECONDS)

    def _status(self, requests_a_second: float) -> str:
        serving = self._all.intersection(self._workers.values())
        others = len(self._all) - len(serving)
        open_requests = sum(worker.open_requests for worker in self._all)
        failure = self._reload_failure
        return (
            f"{self._workers[0].details.get('release')}: "
            f"{len(serving)} of {len(self._sockets)} workers serve"
            + (f", {others} start or drain" if others else "")
            + f"; {open_requests} requests open, {requests_a_second:.0f} a second"
            + (f"; the last reload failed: {failure.splitlines()[0]}" if failure else "")
        )

    async def _end(self) -> None:
        """Let every worker drain, and end."""
        self._notifier.notify(STOPPING=1)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
            loop.add_signal_handler(number, self._end_now, number)
        # What nobody accepts any more is to be refused; systemd's own sockets it keeps itself.
        for group in self._sockets:
            for each in group:
                each.close()
        for task in tuple(self._replacing.values()):
            task.cancel()
        await asyncio.gather(
            *(self._let_drain(worker, signal.SIGTERM) for worker in tuple(self._all))
        )
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        log_fields(logger, logging.INFO, "ended")

    def _end_now(self, number: signal.Signals) -> None:
        for worker in self._all:
            worker.send_signal(signal.SIGKILL)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()):
            logger.error("unforeseen error in the supervisor", exc_info=exc)
