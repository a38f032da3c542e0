"""One worker: TLS, the HTTP server, and how it ends without dropping a request."""

from __future__ import annotations

import argparse
import asyncio
import gc
import logging
import os
import signal
import socket
import ssl
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import uvloop

from proxy import expiry, leaving, log, startup
from proxy.application import Application
from proxy.assembly import make_services
from proxy.config import Config
from proxy.credentials import Aws, AwsConfigurationError
from proxy.handlers.services import Services, WorkerState
from proxy.http_server import HTTPServer
from proxy.log import log_fields
from proxy.metric_files import MetricFiles
from proxy.sampling import sample
from proxy.worker_process import (
    HEARTBEAT_SECONDS,
    LINGER_SECONDS,
    NEEDS_CREDENTIALS,
    RETIRE,
    Reporter,
)

logger = logging.getLogger("proxy.server")  # run as a program, its name would be __main__

# What is over ``max_header_bytes`` is refused by its route, as any error; what is so many times
# longer, and without an end, by the connection.
_HEADER_SLACK = 8

# That are still in use, until the garbage collector looks at them for the first time.
_NEW_OBJECTS = 50_000


class Worker:
    """Serves on sockets that are bound already, until SIGTERM or the supervisor's end."""

    def __init__(
        self,
        config: Config,
        aws: Aws,
        sockets: list[socket.socket],
        ssl_context: ssl.SSLContext | None,
        make_services: Callable[[], Services],
    ) -> None:
        """``make_services`` is called inside the running loop."""
        self._make_services = make_services
        self._config = config
        self._aws = aws
        self._sockets = sockets
        self._ssl_context = ssl_context

    async def run(self, reporter: Reporter, needs_credentials: bool, **details: object) -> None:
        """Start everything, say so with ``details``, serve, drain.

        If it ``needs_credentials`` and there are none, say that it has failed.
        """
        loop = asyncio.get_running_loop()
        stop: asyncio.Future[bool] = loop.create_future()

        def end(replaced: bool) -> None:
            if not stop.done():
                stop.set_result(replaced)

        loop.add_signal_handler(signal.SIGTERM, end, False)
        loop.add_signal_handler(RETIRE, end, True)
        services = self._make_services()
        await services.credentials.start()
        if needs_credentials and (problem := services.credentials.problem):
            reporter.failed(f"{problem}, and the workers that run have some")
            return
        services.catalog.start()
        server = self._make_server(services)
        server.add_sockets(self._sockets)
        reporter.ready(
            region=self._aws.region,
            sagemaker=self._aws.runtime_url,
            drain_seconds=self._config.server.drain_seconds,
            **details,
        )
        beating = asyncio.create_task(_beat(reporter, services))
        sampling = asyncio.create_task(
            sample(services.metrics, services.state, services.limits.gate)
        )
        writing = asyncio.create_task(services.figures.keep_written())
        watching = asyncio.create_task(expiry.watch(services.certificate_expires))
        orphaned = asyncio.create_task(reporter.wait_for_end())
        await asyncio.wait((stop, orphaned), return_when=asyncio.FIRST_COMPLETED)
        # Without a supervisor, others may serve on these sockets already.
        replaced = stop.result() if stop.done() else True
        server.stop()
        reporter.retired()
        await self._drain(server, services.state, replaced=replaced)
        beating.cancel()
        sampling.cancel()
        writing.cancel()
        watching.cancel()
        services.exposition.stop()
        await services.catalog.stop()
        await services.credentials.stop()
        await services.sagemaker.close()
        await services.limits.close()
        services.objects.close()
        if services.traces is not None:
            await services.traces.close()

    def _make_server(self, services: Services) -> HTTPServer:
        config = self._config.server
        return HTTPServer(
            Application(services).take,
            services.state,
            ssl_context=self._ssl_context,
            most_head_bytes=config.max_header_bytes * _HEADER_SLACK,
            most_connections=config.max_connections,
            idle_seconds=config.idle_timeout_seconds,
            body_seconds=config.body_timeout_seconds,
        )

    async def _drain(self, server: HTTPServer, state: WorkerState, *, replaced: bool) -> None:
        """Let what runs finish, close the rest; nothing is accepted any more.

        A client may be sending on a connection that is idle for us, so it is kept for
        ``LINGER_SECONDS``: one more request is answered, which tells the client to close. If
        another worker has taken over, that goes for each connection after its last answer; if
        not, it closes with that, and nothing waits when no request is open.
        """
        began = asyncio.get_running_loop().time()
        seconds = self._config.server.drain_seconds
        linger = min(LINGER_SECONDS, seconds)
        state.draining = True
        state.closes_connections = not replaced
        server.let_go(linger)
        log_fields(logger, logging.INFO, "draining", requests=state.open_requests, seconds=seconds)
        if replaced:
            await server.wait_empty(linger)
        else:
            await state.wait_idle(linger)
        await server.close_connections(state.idle_connections)
        while await _all_answered(state, began, seconds) and replaced:
            await server.wait_empty(linger)
            if not state.open_requests:
                break
        cut = state.open_requests
        await server.close_connections()
        log_fields(logger, logging.WARNING if cut else logging.INFO, "stopped", requests_cut=cut)


async def _all_answered(state: WorkerState, began: float, seconds: float) -> bool:
    """Wait for the open requests, for so long since the drain or the newest of them began."""
    while state.open_requests:
        deadline = max(began, state.newest_began) + seconds
        left = deadline - asyncio.get_running_loop().time()
        if left <= 0:
            return False
        await state.wait_idle(left)
    return True


async def _beat(reporter: Reporter, services: Services) -> None:
    while True:
        services.state.leaving = leaving.is_marked()
        reporter.beat(
            open_requests=services.state.open_requests,
            requests=services.state.requests,
            has_credentials=services.credentials.current is not None,
        )
        await asyncio.sleep(HEARTBEAT_SECONDS)


def _look_for_cycles_seldom() -> None:
    """What is here stays, and a request leaves no cycles: all that would be looked at is in use."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 20, 20)


def main() -> int:
    """Run one worker; the supervisor's business, not a user's."""
    parser = argparse.ArgumentParser(prog="python -m proxy.server", description=__doc__)
    parser.add_argument("--report-to", type=int, required=True, metavar="FD")
    parser.add_argument("--sockets", type=int, required=True, nargs="+", metavar="FD")
    parser.add_argument("--shared", metavar="DIR", type=Path)
    parser.add_argument("--column", type=int, default=0, metavar="N")
    parser.add_argument("--config", metavar="FILE")
    parser.add_argument(*NEEDS_CREDENTIALS, action="store_true")
    options = parser.parse_args()
    # A terminal's signals reach every process; what they mean is the supervisor's to say.
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    log.configure()
    reporter = Reporter(options.report_to)
    try:
        config = startup.load_config(options.config, {})
        keys = startup.load_keys(config)
        tls = startup.prepare_tls(config)
        shared = startup.shared_folder(options.shared)
        windows = startup.open_windows(shared, options.column, keys)
        counted = MetricFiles(shared, options.column)
        aws = Aws(config.region)
    except (startup.StartFailed, AwsConfigurationError) as exc:
        reporter.failed(str(exc))
        return 1
    sockets = [socket.socket(fileno=fd) for fd in options.sockets]
    for each in sockets:
        each.setblocking(False)
        each.set_inheritable(False)
    # Installed, each release has a virtual environment of its own.
    release = Path(sys.prefix).resolve().name
    config = startup.fit_file_limit(config)
    make = partial(
        make_services,
        config,
        keys,
        aws,
        windows,
        shared,
        options.column,
        counted,
        tls.expires,
        startup.prepare_seal(config),
    )
    _look_for_cycles_seldom()
    worker = Worker(config, aws, sockets, tls.context, make)
    details = {"release": release, "certificate_sha256": tls.fingerprint}
    uvloop.run(worker.run(reporter, options.needs_credentials, **details))
    # A thread that still waits for AWS must not hold up the exit.
    logging.shutdown()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
