"""Tries, with the rights of the service, what an attacker would; prints a line of JSON by deed.

It runs on the host, with the standard library alone. Each deed says "done", or why it was not.
"""

import ctypes
import errno
import json
import mmap
import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_PROGRAM = Path("/usr/bin/true")
_INSTALLED = Path("/opt/sagemaker-proxy")
_SETTINGS = Path("/etc/sagemaker-proxy")

# System calls of x86-64 by number, with arguments that change nothing where they are allowed.
_CALLS = {
    "trace a process": (101, 0x4206, -1, 0, 0),
    "mount a file system": (165, 0, 0, 0, 0, 0),
    "unmount one": (166, 0, 0),
    "change the root": (161, 0),
    "swap roots": (155, 0, 0),
    "load a kernel module": (175, 0, 0, 0),
    "load one from a file": (313, -1, 0, 0),
    "load another kernel": (246, 0, 0, 0, 0),
    "load a program into the kernel": (321, 0, 0, 0),
    "watch the kernel's counters": (298, 0, 0, -1, -1, 0),
    "queue system calls past the filter": (425, 0, 0),
    "handle page faults": (323, 0),
    "enter a namespace": (308, -1, 0),
    "set the clock": (227, 0, 0),
    "set the time of day": (164, 0, 0),
    "read the kernel's log": (103, 3, 0, 0),
    "reach the hardware's ports": (173, 0, 1, 1),
    "account for processes": (163, 0),
    "swap to a file": (167, 0, 0),
    "read the key ring": (250, 0, -3, 0),
}
_NAMESPACES = {
    "mounts": 0x00020000,
    "host names": 0x04000000,
    "queues": 0x08000000,
    "users": 0x10000000,
    "processes": 0x20000000,
    "networks": 0x40000000,
    "control groups": 0x02000000,
}


def _system_call(number: int, *arguments: int) -> None:
    if _LIBC.syscall(number, *map(ctypes.c_long, arguments)) == -1:
        raise OSError(ctypes.get_errno(), "refused")


def _unshare(flag: int) -> None:
    """In a child, for it would change this process."""
    child = os.fork()
    if not child:
        failed = _LIBC.unshare(ctypes.c_int(flag)) == -1
        os._exit(ctypes.get_errno() if failed else 0)
    if number := os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
        raise OSError(number, "refused")


def _see(path: str) -> None:
    """A folder with something in it."""
    if not os.listdir(path):  # noqa: PTH208  (Path.iterdir is lazy)
        raise OSError(errno.ENOENT, "nothing is to be seen")


def _append(path: Path) -> None:
    with path.open("ab"):
        pass


def _make(path: Path) -> None:
    with path.open("xb"):
        path.unlink()


def writable_folders() -> Iterator[Path]:
    """Every folder in which this process may make files."""
    for name, folders, _ in os.walk("/"):
        if name == "/":
            folders[:] = [folder for folder in folders if folder not in ("proc", "sys")]
        probe = Path(name) / ".intruder"
        with suppress(OSError):
            probe.touch()
            probe.unlink()
            yield Path(name)


def _refused_everywhere(action: Callable[[Path], None]) -> None:
    """Succeeds if the action does in any folder; else fails as it did last."""
    failure: OSError | None = None
    for folder in writable_folders():
        try:
            action(folder)
        except OSError as exc:
            failure = exc
        else:
            sys.stderr.write(f"in {folder}\n")
            return
    raise failure or OSError(errno.EROFS, "no folder is writable")


def _run_in(folder: Path) -> None:
    program = folder / ".intruder"
    shutil.copyfile(_PROGRAM, program)
    try:
        program.chmod(0o700)
        subprocess.run([program], check=True)
    finally:
        program.unlink()


def _load_in(folder: Path) -> None:
    library = folder / ".intruder"
    shutil.copyfile(_PROGRAM, library)
    try:
        with library.open("rb") as file:
            mmap.mmap(file.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | 4).close()
    finally:
        library.unlink()


def _run_from_memory() -> None:
    """A program that is in no file system."""
    fd = os.memfd_create("intruder")
    os.write(fd, _PROGRAM.read_bytes())
    subprocess.run([f"/proc/self/fd/{fd}"], check=True, pass_fds=[fd])


def _make_executable_later() -> None:
    """Memory that is written first, and executed then."""
    size = mmap.PAGESIZE
    memory = mmap.mmap(-1, size)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    if _LIBC.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(size), 5) == -1:
        raise OSError(ctypes.get_errno(), "refused")


def _open_socket(family: int, kind: int, protocol: int = 0) -> None:
    socket.socket(family, kind, protocol).close()


def _listen_as_another_service() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 443))


def _dump_core() -> None:
    if resource.getrlimit(resource.RLIMIT_CORE) == (0, 0):
        raise OSError(errno.EPERM, "the limit is none")


def _see_environment_of_init() -> None:
    Path("/proc/1/environ").read_bytes()


DEEDS: dict[str, Callable[[], object]] = {
    # What it could read
    "read /root": partial(_see, "/root"),
    "read the homes": partial(_see, "/home"),
    "read the passwords": Path("/etc/shadow").read_bytes,
    "read another user's file": Path("/var/lib/another/secret").read_bytes,
    "read the journal": lambda: next(Path("/var/log/journal").rglob("*.journal")).open("rb"),
    "read another process's environment": _see_environment_of_init,
    "dump core": _dump_core,
    # How it could stay
    "change the code": partial(_append, _INSTALLED / "current/bin/python"),
    "add code": partial(_make, _INSTALLED / "current/sitecustomize.py"),
    "make another release current": partial(_make, _INSTALLED / "next"),
    "change the settings": partial(_append, _SETTINGS / "config.toml"),
    "give itself a key": partial(_append, _SETTINGS / "keys.toml"),
    "change the certificate": partial(_append, _SETTINGS / "certificate.pem"),
    "add a unit": partial(_make, Path("/etc/systemd/system/intruder.service")),
    "change a program": partial(_make, Path("/usr/bin/intruder")),
    "set a kernel parameter": partial(_append, Path("/proc/sys/kernel/core_pattern")),
    # What it could run
    "run a program of its own": partial(_refused_everywhere, _run_in),
    "load a library of its own": partial(_refused_everywhere, _load_in),
    "run a program from memory": _run_from_memory,
    "execute what it has written": _make_executable_later,
    # Whom it could be, and reach
    "be root": partial(os.setuid, 0),
    "join a group": partial(os.setgroups, [0]),
    "signal a process of another's": partial(os.kill, 1, 0),
    "go before others": partial(os.setpriority, os.PRIO_PROCESS, 0, -20),
    "make raw packets": partial(_open_socket, socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP),
    "listen to the network": partial(_open_socket, socket.AF_PACKET, socket.SOCK_RAW),
    "configure the network": partial(_open_socket, socket.AF_NETLINK, socket.SOCK_RAW),
    "listen in place of another service": _listen_as_another_service,
    # What it could have the kernel do
    **{name: partial(_system_call, *call) for name, call in _CALLS.items()},
    **{f"have its own {name}": partial(_unshare, flag) for name, flag in _NAMESPACES.items()},
}


def main() -> None:
    """Try them all."""
    outcome: dict[str, str] = {}
    for name, deed in DEEDS.items():
        try:
            deed()
        except OSError as exc:
            outcome[name] = errno.errorcode.get(exc.errno or 0, repr(exc))
        except StopIteration:
            outcome[name] = "ENOENT"
        else:
            outcome[name] = "done"
    print(json.dumps(outcome))


if __name__ == "__main__":
    main()
