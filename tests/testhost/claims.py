"""A number and a directory for each host, and the end of what one with that number leaves."""

import os
from pathlib import Path

from tests.testhost import commands, locks
from tests.testhost.cgroup import ControlGroup
from tests.testhost.network import LARGEST, Network

_ROOT = Path("/run/sagemaker-proxy-testhost")


class Claim:
    """A number that no other host has, until it is released."""

    def __init__(self, number: int, lock: int) -> None:
        self.number = number
        self.directory = _ROOT / str(number)
        self.machine = f"sagemaker-testhost-{number}"
        self.network = Network(number)
        self.control_group = ControlGroup(self.machine)
        self._lock = lock

    def release(self) -> None:
        """End and remove all that runs, is mounted or lies about under the number."""
        self.control_group.end()
        self.network.delete()
        with locks.exclusively(_ROOT):
            # What was mounted in it has gone with the namespace of its processes.
            commands.run(["rm", "-rf", "--one-file-system", str(self.directory)])
            os.close(self._lock)


def claim() -> Claim:
    """Take a free number, having cleared up after runs that could not do it themselves."""
    _ROOT.mkdir(mode=0o700, exist_ok=True)
    for left in _left_behind():
        left.release()
    with locks.exclusively(_ROOT):
        for number in range(1, LARGEST + 1):
            directory = _ROOT / str(number)
            if directory.exists() or Network(number).is_taken():
                continue
            directory.mkdir(mode=0o700)
            lock = locks.hold(directory)
            assert lock is not None
            return Claim(number, lock)
    raise RuntimeError(f"{LARGEST} test hosts run already")


def _left_behind() -> list[Claim]:
    with locks.exclusively(_ROOT):
        found = [(int(each.name), locks.hold(each)) for each in _ROOT.iterdir()]
    return [Claim(number, lock) for number, lock in found if lock is not None]
