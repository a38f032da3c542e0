"""Caps what a process may use of a core, by Linux's control groups of either version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.benchmark.programs import Failed

# Short, so that what is stopped for the rest of one does not wait long.
_PERIOD_US = 10_000


@contextmanager
def capped(pids: Sequence[int], share: float) -> Iterator[None]:
    """Meanwhile, let each of the processes have `share` of a core. Raises `Failed`."""
    parent = _parent()
    groups = [parent / f"sagemaker-proxy-benchmark-{pid}" for pid in pids]
    try:
        for group, pid in zip(groups, pids, strict=True):
            _make(group, int(share * _PERIOD_US))
            (group / "cgroup.procs").write_text(str(pid))
        yield
    except OSError as exc:
        raise Failed(f"control groups cannot cap a process here: {exc}") from exc
    finally:
        for group, pid in zip(groups, pids, strict=True):
            with suppress(OSError):  # it may have ended
                (parent / "cgroup.procs").write_text(str(pid))
            with suppress(OSError):
                group.rmdir()


def _make(group: Path, quota_us: int) -> None:
    group.mkdir(exist_ok=True)
    if (group / "cpu.max").exists():
        (group / "cpu.max").write_text(f"{quota_us} {_PERIOD_US}")
    else:
        (group / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(quota_us))


def _parent() -> Path:
    """Where groups can be made that know of CPU time."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    for _, where, kind, options, *_ in mounts:
        if kind == "cgroup" and "cpu" in options.split(","):
            return Path(where)
    for _, where, kind, *_ in mounts:
        if kind == "cgroup2":
            with suppress(OSError):
                (Path(where) / "cgroup.subtree_control").write_text("+cpu")
                return Path(where)
    raise Failed("there are no control groups here that know of CPU time")
