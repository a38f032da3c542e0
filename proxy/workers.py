"""The workers of one server: started, replaced when they end by themselves, rolled, and ended."""

from __future__ import annotations

import asyncio
import itertools
import logging
import signal
import socket
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any

from proxy import metric_files, windows
from proxy.log import log_fields
from proxy.startup import StartFailed
from proxy.worker_process import LINGER_SECONDS, NEEDS_CREDENTIALS, RETIRE, WorkerProcess

logger = logging.getLogger(__name__)

_START_SECONDS = 60.0

# What a worker that is told to retire may take to say that it accepts no more.
_RETIRE_SECONDS = 5.0

# A worker that lived so long was no failure of its start.
_SETTLED_SECONDS = 10.0
_MOST_BACK_OFF_SECONDS = 30.0

# Beyond its drain, what a worker may take to end before it is killed.
_END_SECONDS = 5.0


class Workers:
    """One worker for each group of sockets."""

    def __init__(
        self, sockets: list[list[socket.socket]], arguments: Sequence[str], shared: Path
    ) -> None:
        """``arguments`` go on to each worker, and so does ``shared``, a folder for them all."""
        self._sockets = sockets
        self._arguments = [*arguments, "--shared", str(shared)]
        self._shared = shared
        self._columns: set[int] = set()  # in use
        self._serving: dict[int, WorkerProcess] = {}
        self._all: set[WorkerProcess] = set()  # those that start or drain, too
        self._tasks: set[asyncio.Task[None]] = set()
        self._replacing: dict[int, asyncio.Task[None]] = {}
        self._failures: dict[int, int] = {}
        self._ending = False

    async def start(self) -> None:
        """Start one for every slot; return when all are ready. Raises ``StartFailed``."""
        for worker in (await self._start_generation()).values():
            self._install(worker)

    async def roll(self) -> None:
        """Start new ones, and have the old ones drain when all the new ones are ready.

        Returns when the old ones accept no more connections. Raises ``StartFailed``, and then the
        old ones go on. So they do if they have credentials, and the new ones find none.
        """
        has_credentials = any(each.has_credentials for each in self._serving.values())
        workers = await self._start_generation(NEEDS_CREDENTIALS if has_credentials else ())
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
        await asyncio.gather(*(worker.wait_retired(_RETIRE_SECONDS) for worker in old))

    async def end(self) -> None:
        """Let every worker drain, and end."""
        self._ending = True
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

    def kill(self) -> None:
        """End every worker now."""
        for worker in self._all:
            worker.send_signal(signal.SIGKILL)

    def kill_hung(self) -> None:
        """End those that have fallen silent."""
        for worker in tuple(self._all):
            if worker.is_hung:
                log_fields(
                    logger, logging.ERROR, "a worker hangs; killing it", worker_pid=worker.pid
                )
                worker.send_signal(signal.SIGKILL)

    def excuse(self) -> None:
        """Take all for heard from, just now."""
        for worker in self._all:
            worker.excuse()

    @property
    def details(self) -> dict[str, object]:
        """What the first of those that serve has told of itself."""
        return self._serving[0].details

    @property
    def requests(self) -> int:
        """Answered so far by those that serve."""
        return sum(worker.requests for worker in self._serving.values())

    def __len__(self) -> int:
        return len(self._sockets)

    def __str__(self) -> str:
        serving = self._all.intersection(self._serving.values())
        others = len(self._all) - len(serving)
        open_requests = sum(worker.open_requests for worker in self._all)
        return (
            f"{len(serving)} of {len(self)} workers serve"
            + (f", {others} start or drain" if others else "")
            + f"; {open_requests} requests open"
        )

    async def _start_generation(self, needs: Sequence[str] = ()) -> dict[int, WorkerProcess]:
        """A new worker for every slot, all ready; the first alone, so that a fault shows once."""
        first = await self._start_worker(0, needs)
        others = await asyncio.gather(
            *(self._start_worker(slot, needs) for slot in range(1, len(self._sockets))),
            return_exceptions=True,
        )
        workers = [first, *(each for each in others if isinstance(each, WorkerProcess))]
        for failure in others:
            if isinstance(failure, BaseException):
                for worker in workers:  # each may have taken requests already
                    self._spawn(self._let_drain(worker, RETIRE))
                raise failure
        return {worker.slot: worker for worker in workers}

    async def _start_worker(self, slot: int, needs: Sequence[str] = ()) -> WorkerProcess:
        if self._ending:
            raise StartFailed("the server ends")
        column = next(n for n in itertools.count() if n not in self._columns)
        self._columns.add(column)
        try:
            sockets = self._sockets[slot]
            arguments = [*self._arguments, *needs]
            worker = await WorkerProcess.start(slot, column, sockets, arguments)
        except OSError as exc:
            self._columns.discard(column)
            raise StartFailed(f"cannot start a worker: {exc}") from exc
        self._all.add(worker)
        self._spawn(self._watch(worker))
        if self._ending:
            worker.send_signal(signal.SIGKILL)
        if not await worker.wait_ready(_START_SECONDS):
            worker.send_signal(signal.SIGKILL)
            raise StartFailed(worker.failure or "a worker ended before it was ready")
        log_fields(logger, logging.INFO, "a worker is ready", worker=slot, worker_pid=worker.pid)
        return worker

    async def _watch(self, worker: WorkerProcess) -> None:
        """Wait for a worker's end; replace it if nobody asked it to end."""
        await worker.wait()
        windows.forget_in_use(self._shared, worker.column)
        metric_files.forget_live(self._shared, worker.column)
        self._columns.discard(worker.column)
        self._all.discard(worker)
        if self._serving.get(worker.slot) is worker:
            self._lose(worker)

    def _install(self, worker: WorkerProcess) -> None:
        self._serving[worker.slot] = worker
        if worker not in self._all:  # it has ended meanwhile
            self._lose(worker)

    def _lose(self, worker: WorkerProcess) -> None:
        if self._ending:
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

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (exc := task.exception()):
            logger.error("unforeseen error about a worker", exc_info=exc)
