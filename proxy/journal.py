"""The service's log out of systemd's journal, line by line."""

from __future__ import annotations

import math
import os
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import datetime
from typing import IO, cast

_COMMAND = ("journalctl", "--unit=sagemaker-proxy", "--output=cat", "--no-pager")

# journalctl's words for a journal that it may not read, or only the user's own.
_REFUSALS = ("insufficient permissions", "not seeing messages from other users")


class JournalError(Exception):
    """The journal cannot be read."""


def read(since: datetime | None = None, until: datetime | None = None) -> Iterator[bytes]:
    """The lines of a period, give or take a second. Raises ``JournalError``."""
    command = list(_COMMAND)
    if since:
        command.append(f"--since=@{math.floor(since.timestamp())}")
    if until:
        command.append(f"--until=@{math.ceil(until.timestamp())}")
    with tempfile.TemporaryFile() as said:
        try:
            process = subprocess.Popen(  # noqa: S603 - all but two numbers is fixed
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=said,
                env={**os.environ, "LC_ALL": "C"},
            )
        except OSError as exc:
            raise JournalError(
                f"cannot run journalctl ({exc.strerror}); a log from elsewhere can be given on "
                "standard input: --input -"
            ) from exc
        with process:
            try:
                yield from cast(IO[bytes], process.stdout)
            except GeneratorExit:
                process.kill()
                raise
        said.seek(0)
        _check(process.returncode, said.read().decode(errors="replace").strip())


def _check(status: int, said: str) -> None:
    if any(each in said for each in _REFUSALS):
        raise JournalError(
            "the journal is not for this user to read: run it with sudo, or as a member of the "
            "group systemd-journal"
        )
    if status:
        raise JournalError(f"journalctl failed: {said or f'status {status}'}")
