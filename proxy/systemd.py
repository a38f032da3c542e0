"""What systemd and a service say to each other: sockets handed over, and notifications.

Sources: sd_listen_fds(3), sd_notify(3), and JOURNAL_STREAM in systemd.exec(5).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping, MutableMapping

_FIRST_FD = 3


def take_sockets(environ: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """The listening sockets that systemd opened for this process; empty if it opened none.

    Their variables are removed, so that no child takes them for its own.
    """
    pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "0")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    sockets = [socket.socket(fileno=_FIRST_FD + number) for number in range(int(count))]
    for each in sockets:
        each.set_inheritable(False)
        each.setblocking(False)
    return sockets


def logs_to_journal(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether standard error is the journal. A child's may be another than its parent's was."""
    try:
        about = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{about.st_dev}:{about.st_ino}"


class Notifier:
    """Tells systemd how the service is; does nothing without systemd."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        self._address = environ.pop("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        microseconds = environ.pop("WATCHDOG_USEC", "")
        for_us = environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog_seconds: float | None = (
            int(microseconds) / 1_000_000 if microseconds.isdecimal() and for_us else None
        )

    def notify(self, **states: object) -> None:
        """Send states such as ``READY=1`` and ``STATUS="…"``. Never fails the service."""
        if not self._address:
            return
        message = "\n".join(f"{name}={value}" for name, value in states.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)
                sender.sendto(message.encode(), self._address)
        except OSError:
            pass  # systemd restarts what it does not hear from; there is nobody else to tell
