"""The emulated SageMaker, an instance's role, and a proxy with two workers in front of them."""

import contextlib
import threading
import uuid
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from proxy.keys import hash_key
from tests.emulator.containers import chat, echo, regression
from tests.emulator.emulator import Emulator
from tests.emulator.metadata import MetadataService
from tests.integration.running import Entry, RunningProxy, worker_ready
from tests.soak.questions import SHAKY, STEADY

WORKERS = 2
_TOKEN_SECONDS = 0.02

# botocore renews what ends within a quarter of an hour. What is handed out so close to its end it
# takes to be good for longer, so these are not: they are renewed every ten seconds.
_LIFETIME = timedelta(minutes=15, seconds=10)

_SETTINGS = """
region = "us-east-1"
[server]
drain_seconds = 10
body_timeout_seconds = 10
idle_timeout_seconds = 20
[upstream]
retries = 2
connect_timeout_seconds = 5
read_timeout_seconds = 8
wake_timeout_seconds = 2
[catalog]
refresh_seconds = 10
"""
_KEPT_LINES = 500


class Site:
    """All that a soak needs, as a context manager. The log is read all the time."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stack = contextlib.ExitStack()
        self.limited_key = str(uuid.uuid4())
        self.emulator = Emulator()
        self.metadata = MetadataService(_LIFETIME)
        self.proxy: RunningProxy
        self.workers: list[int] = []  # process ids of those that serve
        self._ready: list[int] = []  # of those that became ready last
        self.reloads = 0
        self.refused_reloads = 0  # no credentials were to be had: those that run go on
        self.alarms: list[str] = []  # what the log must not have
        self._reloaded = threading.Condition()
        self._ending = threading.Event()

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            stack.enter_context(self.emulator)
            for state in (STEADY, SHAKY):
                name = f"{state}-chat"
                self.emulator.add_endpoint(name, chat.application((name,), _TOKEN_SECONDS))
                self.emulator.add_endpoint(f"{state}-echo", echo.application())
                self.emulator.add_endpoint(f"{state}-csv", regression.application())
            self.metadata.on_issue = self._accept_issued
            stack.enter_context(self.metadata)
            keys = f'[keys.limited]\nsha256 = "{hash_key(self.limited_key)}"\n'
            keys += "requests_per_minute = 30\n"
            (self._directory / "keys.toml").write_text(keys)
            self.proxy = stack.enter_context(
                RunningProxy(self._directory, self._environment(), _SETTINGS, workers=WORKERS)
            )
            self.workers = list(self.proxy.workers)
            self.tls = self.proxy.client_context()
            reader = threading.Thread(target=self._read_log)
            reader.start()
            stack.callback(reader.join)
            stack.callback(self._ending.set)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def wait_for_reload(self, number: int, seconds: float) -> bool:
        """Wait until so many reloads are done or refused; whether they are."""
        with self._reloaded:
            return self._reloaded.wait_for(lambda: self.reloads_told >= number, seconds)

    @property
    def reloads_told(self) -> int:
        """How many reloads are done or refused."""
        return self.reloads + self.refused_reloads

    def expire_credentials(self) -> None:
        """Let SageMaker refuse those that were issued last, from now on."""
        self.emulator.credentials.expire(self.metadata.issued[-1][0])

    def _environment(self) -> dict[str, str]:
        emulated = self.emulator.environment()
        return {name: value for name, value in emulated.items() if "ENDPOINT" in name} | {
            "AWS_EC2_METADATA_DISABLED": "false",
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.metadata.url,
        }

    def _accept_issued(self) -> None:
        # Several are handed out at the same time.
        for issued in self.metadata.issued[-20:]:
            if self.emulator.credentials.get(issued[0]) is None:
                self.emulator.credentials.add(*issued)

    def _read_log(self) -> None:
        while not self._ending.is_set():
            with contextlib.suppress(AssertionError):  # nothing was logged
                self._take(self.proxy.wait_for_log(lambda entry: True, 0.5))

    def _take(self, entry: Entry) -> None:
        del self.proxy.log[:-_KEPT_LINES]
        message = entry["message"]
        if worker_ready(entry):
            self._ready = [*self._ready, entry["worker_pid"]][-WORKERS:]
        elif message == "reloaded":
            with self._reloaded:
                self.workers = self._ready
                self.reloads += 1
                self._reloaded.notify_all()
        elif message.startswith("the reload failed"):
            with self._reloaded:
                self.refused_reloads += 1
                self._reloaded.notify_all()
            if "no AWS credentials found, and" not in entry["reason"]:
                self.alarms.append(f"a reload failed: {entry}")
        elif message.startswith(("unforeseen", "a worker ended", "a worker hangs", "Traceback")):
            self.alarms.append(str(entry)[:2000])
        elif message == "stopped" and entry.get("requests_cut"):
            self.alarms.append(f"a drain has cut requests: {entry}")
