"""Runs other programs, and tells what they say, when one ends, and when a signal ends us all."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

ROOT = Path(__file__).parents[2]

_STOP_SECONDS = 2.0
_LOG_LINES_SHOWN = 12


class Failed(Exception):
    """The demo cannot go on; the message is for the terminal."""


class Stopped(Exception):
    """A signal asks the demo to end."""


class ProcessEnded(Failed):
    """A program ended by itself."""

    def __init__(self, process: Process, status: int) -> None:
        how = f"with status {status}" if status >= 0 else f"by {signal.Signals(-status).name}"
        super().__init__(f"{process.name} ended {how}.{process.end_of_log()}")
        self.process = process
        self.status = status


@dataclass(frozen=True)
class _Said:
    process: Process
    line: str


@dataclass(frozen=True)
class _Ended:
    process: Process
    status: int


@dataclass(frozen=True)
class _Signal:
    number: int


class Process:
    """A program whose output goes to a log file; its lines are news as long as it is heard."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        news: SimpleQueue[_Said | _Ended | _Signal],
        stop_signal: signal.Signals,
    ) -> None:
        self.name = name
        self.heard = True
        self._log = log
        self._news = news
        self._stop_signal = stop_signal
        log.unlink(missing_ok=True)  # another demo may still write to the old one
        # A session of its own: Ctrl-C in the terminal is for us, who then end it in good order.
        self._popen = subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, name=name, daemon=True)
        self._reader.start()

    def end_of_log(self) -> str:
        """The last lines of the log under a heading, to be appended to a message."""
        with self._log.open(encoding="utf-8", errors="replace") as file:
            lines = deque(file, _LOG_LINES_SHOWN)
        heading = f" {shown(self._log)} ends:\n" if lines else f" It wrote nothing to {self._log}."
        return heading + "\n".join(f"    {line.rstrip()}" for line in lines)

    def ask_to_stop(self) -> None:
        """Send its signal to it and to all that it has started."""
        self._send(self._stop_signal)

    def wait(self, seconds: float) -> None:
        """Wait for its end, and put one to it when the time is over."""
        self._reader.join(seconds)
        if self._reader.is_alive():
            self._send(signal.SIGKILL)
            self._reader.join()

    def _send(self, number: signal.Signals) -> None:
        # While the reader lives nobody has reaped the process, so the group is still its own.
        if self._reader.is_alive():
            with suppress(ProcessLookupError):
                os.killpg(self._popen.pid, number)

    def _read(self) -> None:
        assert self._popen.stdout is not None
        with self._log.open("wb", buffering=0) as log, self._popen.stdout as output:
            for line in output:
                log.write(line)
                if self.heard:
                    self._news.put(_Said(self, line.decode(errors="replace")))
        self._news.put(_Ended(self, self._popen.wait()))


class Processes:
    """All programs of a demo; none is left when the context ends."""

    def __init__(self) -> None:
        self._news: SimpleQueue[_Said | _Ended | _Signal] = SimpleQueue()
        self._started: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._started:
            process.ask_to_stop()
        deadline = time.monotonic() + _STOP_SECONDS
        for process in self._started:
            process.wait(max(0.0, deadline - time.monotonic()))

    def stop_on_signals(self) -> None:
        """From now on a signal that ends programs makes the next wait raise ``Stopped``."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            # The queue's put may interrupt itself, so a signal handler is free to call it.
            signal.signal(number, lambda caught, _frame: self._news.put(_Signal(caught)))

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        log: Path,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> Process:
        """Start a program. ``name`` is what messages call it."""
        process = Process(name, command, environment, log, self._news, stop_signal)
        self._started.append(process)
        return process

    def wait(self, seconds: float | None = None) -> None:
        """Let time pass, for ever if no seconds are given.

        Raises ``ProcessEnded`` as soon as any program ends, and ``Stopped`` on a signal.
        """
        deadline = None if seconds is None else time.monotonic() + seconds
        while self._next_line(deadline) is not None:
            pass

    def next_line(self, process: Process, seconds: float) -> str | None:
        """What the program says next, or None when the time is over. Raises as ``wait`` does."""
        deadline = time.monotonic() + seconds
        while (said := self._next_line(deadline)) is not None:
            if said.process is process:
                return said.line
        return None

    def wait_for_line(self, process: Process, read: Callable[[str], T | None], seconds: float) -> T:
        """What ``read`` makes of the first line that means something to it; hear no more then.

        Raises as ``wait`` does, and ``Failed`` when the time is over.
        """
        deadline = time.monotonic() + seconds
        while (line := self.next_line(process, deadline - time.monotonic())) is not None:
            if (value := read(line)) is not None:
                process.heard = False
                return value
        message = f"{process.name} has not started within {seconds:.0f} s."
        raise Failed(message + process.end_of_log())

    def _next_line(self, deadline: float | None) -> _Said | None:
        timeout = None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            news = self._news.get(timeout=timeout)
        except Empty:
            return None
        if isinstance(news, _Signal):
            raise Stopped
        if isinstance(news, _Ended):
            raise ProcessEnded(news.process, news.status)
        return news


def clean_environment() -> dict[str, str]:
    """What any program needs from ours, and nothing that could lead it astray."""
    return {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}


def shown(path: Path) -> str:
    """A path as short as it can be written in the repository's root."""
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)
