"""Runs the programs of a benchmark on the cores they are meant for; none is left at the end."""

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_STOP_SECONDS = 5.0
_SHOWN_LINES = 8


class Failed(Exception):
    """A program, or a measurement of it, came to nothing; the message is one line."""


class Program:
    """One program in a session of its own, with all that it starts."""

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.name = name
        self.log = log
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def check(self) -> None:
        """Raise `Failed` if it has ended."""
        if self._process.poll() is not None:
            raise Failed(f"{self.name} ended with {self._process.returncode}: {self.end_of_log()}")

    def end_of_log(self) -> str:
        """Return the last lines of what it wrote, as one."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return " / ".join(line.strip() for line in lines[-_SHOWN_LINES:])[-600:] or "no word"

    def ask_to_stop(self) -> None:
        """Send SIGTERM to the program, which ends what it has started itself."""
        self._process.send_signal(signal.SIGTERM)

    def end(self) -> None:
        """Wait a while for its end, then kill whatever of it is left."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()


class Programs:
    """All programs of a benchmark, as a context manager."""

    def __init__(self) -> None:
        self._running: list[Program] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        running, self._running = self._running, []
        for program in running:
            program.ask_to_stop()
        for program in running:
            program.end()

    def start(
        self,
        name: str,
        command: Sequence[str],
        *,
        cores: Sequence[int],
        log: Path,
        environment: Mapping[str, str] | None = None,
        directory: Path | None = None,
        error: int | None = None,
        log_shown: Path | None = None,
        keep: Sequence[int] = (),
    ) -> Program:
        """Start a program that writes to `log`.

        `error` is a file descriptor for its standard error instead, and `log_shown` where that
        is to be read; `keep` are other descriptors to inherit.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        pinned = ["taskset", "--cpu-list", ",".join(map(str, cores)), *command]
        with log.open("wb") as output:
            process = subprocess.Popen(
                pinned,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if error is None else error,
                env=dict(environment) if environment is not None else None,
                cwd=directory,
                start_new_session=True,
                pass_fds=keep,
            )
        program = Program(name, process, log_shown or log)
        self._running.append(program)
        return program

    def stop(self, program: Program) -> None:
        """End one program before the others."""
        self._running.remove(program)
        program.ask_to_stop()
        program.end()
