"""Tries, inside the unit's sandbox, what it forbids; prints a line of JSON: what was stopped.

It runs on the host, with the standard library alone.
"""

import ctypes
import json
import mmap
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_SYS_UNSHARE, _SYS_SETNS_PERSONALITY, _SYS_KEYCTL = 272, 135, 250
_CLONE_NEWUSER = 0x10000000


def fails(action: Callable[[], object]) -> bool:
    """Whether an action is refused."""
    try:
        action()
    except OSError:
        return True
    return False


def syscall(number: int, *arguments: int) -> None:
    """Make a system call; OSError if the kernel refuses it."""
    if _LIBC.syscall(number, *arguments) == -1:
        raise OSError(ctypes.get_errno(), "refused")


def write(path: str) -> Callable[[], object]:
    """An action that writes a file."""
    return lambda: Path(path).write_text("x")


def readable(path: str) -> bool:
    """Whether there is anything to be seen in a folder."""
    try:
        return any(Path(path).iterdir())
    except OSError:
        return False


def status(name: str) -> str:
    """A line of this process's status."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split(":")[1].strip() for line in lines if line.startswith(name + ":"))


def mapped_users() -> int:
    """How many users there are in this process's namespace; 0 if it cannot be told."""
    lines = Path("/proc/self/uid_map").read_text().splitlines()
    return sum(int(line.split()[2]) for line in lines)


def make_setuid() -> None:
    """Give a file the bit that lets others act as its owner."""
    path = Path("/tmp/setuid")
    path.touch()
    path.chmod(0o4755)


def main() -> None:
    """Try them all."""
    stopped = {
        "User": os.getuid() != 0,
        "ProtectSystem": all(map(fails, map(write, ("/etc/x", "/usr/x", "/opt/x", "/var/x")))),
        "PrivateTmp": not Path("/tmp/outside").exists(),
        "ProtectHome": not readable("/root"),
        "NoNewPrivileges": status("NoNewPrivs") == "1",
        "CapabilityBoundingSet": int(status("CapBnd"), 16) == 0,
        "SystemCallFilter": fails(lambda: syscall(165, 0, 0, 0, 0, 0)),  # mount
        "RestrictNamespaces": fails(lambda: syscall(_SYS_UNSHARE, _CLONE_NEWUSER)),
        "LockPersonality": fails(lambda: syscall(_SYS_SETNS_PERSONALITY, 0x0400000)),
        "RestrictAddressFamilies": fails(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
        "MemoryDenyWriteExecute": fails(lambda: mmap.mmap(-1, 4096, prot=7)),
        "RestrictSUIDSGID": fails(make_setuid),
        "PrivateDevices": not Path("/dev/kmsg").exists() and not Path("/dev/fuse").exists(),
        "ProtectProc": not Path("/proc/1/comm").exists(),
        "ProcSubset": not Path("/proc/meminfo").exists(),
        "ProtectKernelTunables": fails(write("/proc/sys/kernel/panic")),
        "ProtectControlGroups": fails(Path("/sys/fs/cgroup/x").mkdir),
        "ProtectHostname": fails(lambda: socket.sethostname("x")),
        "RestrictRealtime": fails(
            lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
        ),
        "PrivateUsers": 0 < mapped_users() < 10,
        "UMask": subprocess.check_output(["sh", "-c", "umask"], text=True).strip() == "0077",
    }
    print(json.dumps(stopped))


if __name__ == "__main__":
    main()
