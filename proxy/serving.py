"""Binds the sockets, and runs the supervisor on them until it is told to end."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from proxy import control, environment, log, sockets, startup
from proxy.startup import StartFailed
from proxy.supervisor import Supervisor
from proxy.systemd import Notifier, take_sockets
from proxy.workers import Workers


def serve(config_file: str | None, overrides: Mapping[str, Any]) -> None:
    """Serve until SIGTERM. ``overrides`` are the command line's. Raises ``StartFailed``."""
    notifier = Notifier()
    given = take_sockets()
    config = startup.load_config(config_file, overrides)
    startup.load_keys(config)  # each worker loads its own; this is to fail early
    environment.hide_key()
    log.configure()
    server = config.server
    workers = server.workers or len(os.sched_getaffinity(0))
    try:
        groups = (
            sockets.share(given, workers)
            if given
            else sockets.bind(server.host, server.port, workers)
        )
    except OSError as exc:
        where = f"{server.host or '*'}:{server.port}"
        raise StartFailed(f"cannot listen on {where}: {exc.strerror or exc}") from exc
    scheme = "https" if server.tls else "http"
    url = f"{scheme}://{server.host or 'localhost'}:{groups[0][0].getsockname()[1]}"
    arguments = ["--config", config_file] if config_file else []
    # In memory where systemd has made us a place; a restart, unlike a reload, begins anew.
    with tempfile.TemporaryDirectory(
        prefix="shared-", dir=os.environ.get("RUNTIME_DIRECTORY")
    ) as shared:
        asyncio.run(_supervise(Workers(groups, arguments, Path(shared)), notifier, url))


async def _supervise(workers: Workers, notifier: Notifier, url: str) -> None:
    running = Supervisor(workers, notifier, url)
    if "RUNTIME_DIRECTORY" not in os.environ:
        await running.run()
        return
    try:
        listening = await control.serve(control.socket_path(), running.reload)
    except OSError as exc:
        raise StartFailed(f"cannot listen at {control.socket_path()}: {exc.strerror}") from exc
    async with listening:
        await running.run()
