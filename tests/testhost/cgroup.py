"""The control groups that a host's processes are in, so that all of them can be ended."""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_END_SECONDS = 60.0  # a busy machine takes its time


def mount_point() -> Path:
    """Where version 2 of control groups is mounted, be it alone or beside version 1."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(where)
    raise FileNotFoundError("no version 2 control groups are mounted")


class ControlGroup:
    """A group at the top of the hierarchy, with others in it."""

    def __init__(self, name: str) -> None:
        self.path = mount_point() / name

    def create(self, *children: str) -> None:
        """Make the group and those in it."""
        for child in children:
            (self.path / child).mkdir(parents=True)

    def command(self, child: str, command: Sequence[str]) -> list[str]:
        """What to run instead of a command, so that it is in the group from the start."""
        procs = self.path / child / "cgroup.procs"
        return ["sh", "-c", 'echo 0 >"$0" && exec "$@"', str(procs), *command]

    def end(self) -> None:
        """Kill whatever runs in the group, and remove it."""
        if not self.path.exists():
            return
        deadline = time.monotonic() + _END_SECONDS
        (self.path / "cgroup.kill").write_text("1")
        while self.path.exists():
            for directory in sorted(self.path.glob("**/"), reverse=True):
                with suppress(OSError):  # busy until the last process is gone
                    directory.rmdir()
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.path} still has processes")
            time.sleep(0.01)
