"""A proxy that runs as its own process, as a user starts it, and what it says meanwhile."""

import json
import os
import queue
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

ROOT = Path(__file__).parent.parent.parent
START_SECONDS = 30.0

Entry = dict[str, Any]


def worker_ready(entry: Entry) -> bool:
    """Whether an entry says that a worker is ready."""
    return bool(entry["message"] == "a worker is ready")


class RunningProxy:
    """`python -m proxy serve` on a free port, with a key and a certificate of its own."""

    def __init__(
        self,
        directory: Path,
        environ: Mapping[str, str],
        config: str = "",
        *,
        host: str = "",
        open_files: int | None = None,
        workers: int = 1,
        given: Sequence[socket.socket] = (),
        within: Sequence[str] = (),
    ) -> None:
        """`given` are listening sockets to hand over as systemd does, `within` what executes it."""
        self.key = str(uuid.uuid4())
        self.directory = directory
        self.log: list[str] = []
        self._entries: queue.Queue[Entry] = queue.Queue()
        command = [sys.executable, "-m", "proxy", "serve", "--port", "0"]
        command += ["--workers", str(workers)]
        if open_files:
            command = ["sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh", *command]
        if host:
            command += ["--host", host]
        if config:
            path = directory / "config.toml"
            path.write_text(config)
            command += ["--config", str(path)]
        if given:
            fds = "".join(f" {3 + n}<&{each.fileno()}" for n, each in enumerate(given))
            script = f'exec{fds}; export LISTEN_PID=$$ LISTEN_FDS={len(given)}; exec "$@"'
            command = ["bash", "-c", script, "bash", *command]
        self.process = subprocess.Popen(
            [*within, *command],
            pass_fds=[each.fileno() for each in given],
            cwd=ROOT,
            env=clean_environment(directory) | {"API_KEY": self.key} | dict(environ),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._listening = threading.Event()
        self._listening.set()
        self._reader = threading.Thread(target=self._read_log, daemon=True)
        self._reader.start()
        self.workers: list[int] = []  # process ids, as they became ready
        try:
            for _ in range(workers):
                ready = self.wait_for_log(worker_ready, START_SECONDS)
                self.workers.append(ready["worker_pid"])
            serving = self.wait_for_log(lambda entry: entry["message"] == "serving", START_SECONDS)
        except BaseException:
            self.stop(signal.SIGKILL)
            raise
        self.fingerprint = serving.get("certificate_sha256")
        self.url: str = serving["url"]
        self.port = int(self.url.rpartition(":")[2])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.stop(signal.SIGTERM)
        self._close()

    @property
    def certificate(self) -> Path:
        """What a client needs to verify the proxy."""
        return self.directory / "certificate.pem"

    @property
    def headers(self) -> dict[str, str]:
        """What lets a client in."""
        return {"Authorization": f"Bearer {self.key}"}

    def client_context(self) -> ssl.SSLContext:
        """A TLS context that trusts this proxy alone."""
        return ssl.create_default_context(cafile=self.certificate)

    def session(self) -> requests.Session:
        """A session of requests that verifies this proxy and has the key."""
        session = requests.Session()
        session.trust_env = False  # REQUESTS_CA_BUNDLE would come before `verify`
        session.verify = str(self.certificate)
        session.headers.update(self.headers)
        return session

    def wait_for_log(self, wanted: Callable[[Entry], bool], timeout: float = 10.0) -> Entry:
        """The next log entry that is `wanted`; those before it are passed over."""
        deadline = time.monotonic() + timeout
        while True:
            try:
                entry = self._entries.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                log = "\n".join(self.log[-20:])
                raise AssertionError(
                    f"not logged within {timeout} s; the log ends:\n{log}"
                ) from None
            if wanted(entry):
                return entry

    def wait_for_request(self, request_id: str, timeout: float = 10.0) -> Entry:
        """The access-log entry of one request."""
        return self.wait_for_log(
            lambda entry: (
                entry["logger"] == "proxy.access" and entry.get("request_id") == request_id
            ),
            timeout,
        )

    def stop_listening(self) -> None:
        """Leave its log unread, until `listen_again`."""
        self._listening.clear()

    def listen_again(self) -> None:
        """Read all that it has said meanwhile."""
        self._listening.set()

    def hang_up(self) -> None:
        """Close the pipe that its log comes from; not to be heard again."""
        assert self.process.stderr is not None
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, self.process.stderr.fileno())
        os.close(nothing)
        self._listening.set()

    def resident_bytes(self) -> int:
        """How much memory the first worker holds now."""
        status = Path(f"/proc/{self.workers[0]}/status").read_text()
        (line,) = [line for line in status.splitlines() if line.startswith("VmRSS")]
        return int(line.split()[1]) * 1024

    def stop(self, number: signal.Signals = signal.SIGTERM, timeout: float = 30.0) -> int:
        """Send a signal and wait for the end; the exit status."""
        self.process.send_signal(number)
        status = self.process.wait(timeout)
        self._close()
        return status

    def _close(self) -> None:
        self._listening.set()
        self._reader.join()
        if self.process.stderr is not None:
            self.process.stderr.close()

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._listening.wait()
            self.log.append(line.rstrip())
            try:
                self._entries.put(json.loads(line))
            except ValueError:
                self._entries.put({"message": line, "logger": "unstructured"})


def clean_environment(directory: Path) -> dict[str, str]:
    """An environment without this machine's AWS settings, with its state in `directory`."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(directory),
        "STATE_DIRECTORY": str(directory),
        "AWS_EC2_METADATA_DISABLED": "true",
    }
