"""A SageMaker and an instance's metadata service that a host reaches on its loopback."""

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.emulator.metadata import ON_AN_INSTANCE
from tests.testhost.host import Host

_ROOT = Path(__file__).parents[2]


class SageMaker:
    """The embedded SageMaker in a host's namespace, as a context manager.

    Its endpoints are demo-chat, demo-echo, demo-regression and slow-chat, of which
    `slow_chat.REQUEST` is answered for 20 seconds. `environment` is all that leads a service on
    the host to it: credentials and region come from the metadata service, and calls signed with
    credentials older than `credentials_lifetime` are refused. It survives a reboot of the host.
    With an `instance`, the metadata service tells that id, and is where it is on an instance.
    """

    environment: dict[str, str]

    def __init__(self, host: Host, credentials_lifetime: timedelta, instance: str = "") -> None:
        self._host = host
        self._instance = instance
        self._lifetime = credentials_lifetime

    def __enter__(self) -> Self:
        self._log = self._host.directory / "sagemaker.log"
        seconds = str(self._lifetime.total_seconds())
        if self._instance:
            line = ["ip", "address", "add", f"{ON_AN_INSTANCE[0]}/32", "dev", "lo"]
            assert self._host.inside(line).wait() == 0
        with self._log.open("wb") as log:
            self._process = self._host.inside(
                [
                    *(sys.executable, "-m", "tests.testhost.sagemaker_process", seconds),
                    *([self._instance] if self._instance else []),
                ],
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            self.environment = self._answer()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def access_keys(self) -> list[str]:
        """The distinct access keys that have signed accepted calls, in the order of their first."""
        keys: list[str] = self._ask("access_keys")
        return keys

    def calls(self, endpoint: str) -> int:
        """How many calls an endpoint has had, those that suffered a fault included."""
        number: int = self._ask("calls", endpoint)
        return number

    def set_fault(self, endpoint: str, kind: str, times: int | None = 1, **params: Any) -> None:
        """Let the next calls to an endpoint fail, as `Emulator.set_fault` does."""
        self._ask("set_fault", endpoint, kind, times, params)

    def clear_faults(self) -> None:
        """Let every endpoint be well again."""
        self._ask("clear_faults")

    def lead(self, lifecycle_state: str) -> None:
        """Let the group of the instance lead it to a state, as the metadata service tells it."""
        self._ask("lead", lifecycle_state)

    def _ask(self, method: str, *arguments: Any) -> Any:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([method, *arguments]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the embedded SageMaker ended:\n{self._log.read_text()}")
        return json.loads(line)

    def _stop(self) -> None:
        self._process.communicate()  # it ends with its input
