"""What a running worker holds: its descriptors, its memory, its tasks and its objects.

The last two are told by the worker itself, on a signal that nothing else uses: Python runs a
``sitecustomize`` of ours before the program. So what runs is the program as it is.
"""

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.integration.running import RunningProxy

# Of what a request is made of, there is to be none without a request.
OF_REQUESTS = (
    *("ChatHandler", "Request", "ServerConnection", "SSLIOStream"),  # a client's
    *("Connection", "Response", "Answer"),  # SageMaker's
)

_SITECUSTOMIZE = """
import signal

def tell(number, frame):
    import asyncio, collections, gc, json, os, pathlib

    def count(objects):
        return collections.Counter(
            type(each).__name__
            for each in objects
            if type(each).__module__.startswith(("proxy.", "tornado."))
        )

    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    garbage = count(gc.garbage)
    gc.set_debug(0)
    gc.garbage.clear()
    gc.collect()
    kinds = count(gc.get_objects())
    tasks = sorted(str(each.get_coro()).split(" at ")[0] for each in asyncio.all_tasks())
    file = pathlib.Path(os.environ["INSPECTION_FOLDER"], str(os.getpid()))
    told = {"tasks": tasks, "kinds": kinds, "garbage": garbage}
    file.with_suffix(".new").write_text(json.dumps(told))
    file.with_suffix(".new").replace(file)

signal.signal(signal.SIGUSR2, tell)
"""


def environment(folder: Path) -> dict[str, str]:
    """What lets a proxy be inspected."""
    (folder / "sitecustomize.py").write_text(_SITECUSTOMIZE)
    return {"PYTHONPATH": str(folder), "INSPECTION_FOLDER": str(folder)}


class Inspection:
    """Looks at the first worker of a proxy that was started with such an environment."""

    def __init__(self, proxy: RunningProxy, folder: Path) -> None:
        self._proxy = proxy
        self.garbage: Counter[str] = Counter()
        """Those that only the garbage collector has freed, at each look: they were in cycles."""
        self._pid = proxy.workers[0]
        self._file = folder / str(self._pid)

    def descriptors(self) -> int:
        """How many files and sockets are open."""
        return len(list(Path(f"/proc/{self._pid}/fd").iterdir()))

    def sockets_to(self, port: int) -> int:
        """How many connections there are to a port of this machine."""
        inodes = {
            target.removeprefix("socket:[").removesuffix("]")
            for target in map(_target, Path(f"/proc/{self._pid}/fd").iterdir())
            if target.startswith("socket:[")
        }
        lines = [
            line.split()
            for name in ("tcp", "tcp6")
            for line in Path(f"/proc/{self._pid}/net/{name}").read_text().splitlines()[1:]
        ]
        return sum(line[9] in inodes and int(line[2].split(":")[1], 16) == port for line in lines)

    def tasks(self) -> Counter[str]:
        """How many asyncio tasks have not ended, by what they run."""
        return Counter(self._ask()["tasks"])

    def objects(self) -> Counter[str]:
        """How many of the proxy's and Tornado's own objects there are, by their class."""
        return Counter(self._ask()["kinds"])

    def _ask(self) -> dict[str, dict[str, int]]:
        self._file.unlink(missing_ok=True)
        os.kill(self._pid, signal.SIGUSR2)
        wait_until(self._file.exists, "the worker does not say what it holds")
        found: dict[str, dict[str, int]] = json.loads(self._file.read_text())
        self.garbage.update(found["garbage"])
        return found


def wait_until(condition: Callable[[], bool], otherwise: str, seconds: float = 20.0) -> None:
    """Wait for a condition to become true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.05)


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed meanwhile
        return ""
