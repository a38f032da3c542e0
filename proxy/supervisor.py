"""Owns the listening sockets; runs, replaces and rolls the workers; talks to systemd."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections.abc import Coroutine, Sequence
from typing import Any

from tornado.netutil import bind_sockets

from proxy import __version__
from proxy.log import log_fields
from proxy.startup import StartFailed
from proxy.systemd import Notifier
from proxy.worker_process import HEARTBEAT_SECONDS, RETIRE, WorkerProcess

logger = logging.getLogger(__name__)

_BACKLOG = 1024
_START_SECONDS = 60.0

# A worker that lived so long was no failure of its start.
_SETTLED_SECONDS = 10.0
_MOST_BACK_OFF_SECONDS = 30.0

# Beyond its drain, what a worker may take to end before it is killed.
_END_SECONDS = 5.0


def bind(host: str, port: int, workers: int) -> list[list[socket.socket]]:
    """One group of SO_REUSEPORT sockets a worker. Raises ``OSError`` if the port is taken.

    The kernel spreads connections evenly over such sockets, and badly over workers that share one.
    """
    # Without the option first, for with it another server's port could be joined unawares.
    probes = bind_sockets(port, host or None)
    port = probes[0].getsockname()[1]
    for probe in probes:
        probe.close()
    return [
        bind_sockets(port, host or None, backlog=_BACKLOG, reuse_port=True) for _ in range(workers)
    ]


def share(sockets: Sequence[socket.socket], workers: int) -> list[list[socket.socket]]:
    """Deal sockets that systemd opened to as many workers as can have one."""
    workers = min(workers, len(sockets))
    return [list(sockets[slot::workers]) for slot in range(workers)]


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
        self._reload = asyncio.Event()
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. Raises ``StartFailed`` if the first start fails."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)

        starting = asyncio.create_task(self._start_generation())
        stopped = asyncio.create_task(self._stop.wait())
        await asyncio.wait((starting, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not starting.done():
            starting.cancel()
        else:
            self._workers = starting.result()
            details = self._workers[0].details
            log_fields(
                logger,
                logging.INFO,
                "serving",
                version=__version__,
                url=self._url,
                workers=len(self._workers),
                **details,
            )
            self._spawn(self._reload_on_request())
            self._spawn(self._tick())
            self._notifier.notify(READY=1, STATUS=self._status(0))
            await stopped
        await self._end()

    async def _start_generation(self) -> dict[int, WorkerProcess]:
        """A new worker for every slot, all ready; the first alone, so that a fault shows once."""
        workers = {}
        try:
            workers[0] = await self._start_worker(0)
            others = await asyncio.gather(
                *(self._start_worker(slot) for slot in range(1, len(self._sockets)))
            )
        except BaseException:
            for worker in workers.values():
                worker.send_signal(signal.SIGKILL)
            raise
        return workers | {worker.slot: worker for worker in others}

    async def _start_worker(self, slot: int) -> WorkerProcess:
        worker = await WorkerProcess.start(slot, self._sockets[slot], self._arguments)
        self._all.add(worker)
        self._spawn(self._watch(worker))
        if not await worker.wait_ready(_START_SECONDS):
            worker.send_signal(signal.SIGKILL)
            raise StartFailed(worker.failure or "a worker ended before it was ready")
        log_fields(logger, logging.INFO, "a worker is ready", worker=slot, worker_pid=worker.pid)
        return worker

    async def _watch(self, worker: WorkerProcess) -> None:
        """Wait for a worker's end; replace it if nobody asked it to end."""
        status = await worker.wait()
        self._all.discard(worker)
        slot = worker.slot
        if self._workers.get(slot) is not worker or self._stop.is_set():
            return
        log_fields(
            logger,
            logging.ERROR,
            "a worker ended by itself",
            worker=slot,
            worker_pid=worker.pid,
            status=status,
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
                self._workers[slot] = await self._start_worker(slot)
            except StartFailed as exc:
                log_fields(logger, logging.ERROR, "a worker cannot start", reason=str(exc))
            else:
                return

    async def _reload_on_request(self) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            microseconds = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
            self._notifier.notify(RELOADING=1, MONOTONIC_USEC=microseconds)
            log_fields(logger, logging.INFO, "reloading")
            try:
                workers = await self._start_generation()
            except StartFailed as exc:
                log_fields(
                    logger,
                    logging.ERROR,
                    "the reload failed; the workers that run go on",
                    reason=str(exc),
                )
                self._notifier.notify(READY=1, STATUS=f"reload failed: {exc}".splitlines()[0])
                continue
            for task in self._replacing.values():
                task.cancel()
            self._replacing.clear()
            self._failures.clear()
            old, self._workers = self._workers, workers
            for worker in old.values():
                self._spawn(self._let_drain(worker, RETIRE))
            log_fields(logger, logging.INFO, "reloaded", **workers[0].details)
            self._notifier.notify(READY=1)

    async def _let_drain(self, worker: WorkerProcess, number: signal.Signals) -> None:
        """Ask a worker to drain; end it if it takes longer than that may take."""
        worker.send_signal(number)
        drain = worker.details.get("drain_seconds", 0)
        try:
            async with asyncio.timeout(float(str(drain)) + _END_SECONDS):
                await worker.wait()
        except TimeoutError:
            worker.send_signal(signal.SIGKILL)

    async def _tick(self) -> None:
        before = 0
        while True:
            for worker in tuple(self._all):
                if worker.is_hung:
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
        ready = sum(worker.is_ready for worker in self._workers.values())
        draining = len(self._all) - len(self._workers)
        open_requests = sum(worker.open_requests for worker in self._all)
        return (
            f"{ready} of {len(self._sockets)} workers serve"
            + (f", {draining} start or drain" if draining > 0 else "")
            + f"; {open_requests} requests open, {requests_a_second:.0f} a second"
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
