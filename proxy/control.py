"""The control socket: asks the supervisor that runs to reload, and tells what came of it.

A signal can ask, too, but has no answer: ``systemctl reload`` would succeed before anything had
been loaded.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path

_DEFAULT_DIRECTORY = "/run/sagemaker-proxy"
_RELOAD = b"reload\n"
_DONE = b"done\n"
_REQUEST_SECONDS = 5.0
_ANSWER_SECONDS = 120.0
_LONGEST_ANSWER = 64 * 1024


class ControlError(Exception):
    """The supervisor cannot be asked, or what was asked of it failed."""


def socket_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the socket is: in ``RUNTIME_DIRECTORY``, which systemd sets."""
    directory = environ.get("RUNTIME_DIRECTORY", _DEFAULT_DIRECTORY).split(":")[0]
    return Path(directory) / "control"


async def serve(path: Path, reload: Callable[[], Awaitable[str | None]]) -> asyncio.Server:
    """Listen at ``path``. ``reload`` returns why it failed, or None.

    Its owner alone can connect. Raises ``OSError``.
    """

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, ValueError):
            async with asyncio.timeout(_REQUEST_SECONDS):
                request = await reader.readline()
            if request == _RELOAD:
                failure = await reload()
                writer.write(failure.encode() if failure else _DONE)
                await writer.drain()
        writer.close()

    _remove(path)  # one that was killed has left it
    mask = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(answer, path)
    finally:
        os.umask(mask)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def request_reload(path: Path) -> None:
    """Have the supervisor at ``path`` reload. Raises ``ControlError`` with the reason."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_ANSWER_SECONDS)
            connection.connect(str(path))
            connection.sendall(_RELOAD)
            answer = connection.makefile("rb").read(_LONGEST_ANSWER)
    except OSError as exc:
        raise ControlError(f"no answer from the server at {path}: {exc.strerror or exc}") from exc
    if answer != _DONE:
        raise ControlError(answer.decode(errors="replace") or "the server ended meanwhile")
