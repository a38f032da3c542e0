"""One worker: TLS, the HTTP server, and how it ends without dropping a request."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import ssl
from contextlib import suppress

from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream

from proxy import __version__
from proxy.application import make_application
from proxy.catalog import Catalog
from proxy.config import Config
from proxy.credentials import Aws, CredentialsProvider
from proxy.handlers.services import Services, WorkerState
from proxy.keys import KeyRing
from proxy.log import log_fields
from proxy.sagemaker import SageMaker
from proxy.signing import Signer

logger = logging.getLogger(__name__)

# Beyond max_connections, this many more are accepted just to be told so.
_EXCESS_CONNECTIONS = 100

# Tornado drops a connection whose headers are over its own bound without a word. Ours, which is
# answered, is lower.
_HEADER_SLACK = 8

# Handlers bound the body themselves, so that they can answer; Tornado would drop the connection.
_NO_LIMIT = 1 << 62


class BoundedHTTPServer(HTTPServer):
    """Tornado's server with a bound on open connections."""

    def bound_connections(self, limit: int, state: WorkerState) -> None:
        """Refuse, through ``state``, what is over ``limit``. To be called before listening."""
        self._limit = limit
        self._state = state
        self._open = 0

    def handle_stream(self, stream: IOStream, address: tuple[str, int]) -> None:
        """Take a new connection."""
        if self._open >= self._limit + _EXCESS_CONNECTIONS:
            stream.close()
            return
        self._open += 1
        if self._open > self._limit:
            self._state.excess_connections.add(stream)
        super().handle_stream(stream, address)

    def on_close(self, server_conn: object) -> None:
        """Count a connection out."""
        self._open -= 1
        super().on_close(server_conn)


class Worker:
    """Serves on sockets that are bound already, until SIGTERM or SIGINT."""

    def __init__(
        self,
        config: Config,
        keys: KeyRing,
        aws: Aws,
        sockets: list[socket.socket],
        ssl_context: ssl.SSLContext | None,
    ) -> None:
        self._config = config
        self._keys = keys
        self._aws = aws
        self._sockets = sockets
        self._ssl_context = ssl_context

    async def run(self, **log_details: object) -> None:
        """Start everything, serve, drain. ``log_details`` go into the line that says so."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)

        services = self._make_services()
        await services.credentials.start()
        services.catalog.start()
        server = self._make_server(services)
        server.add_sockets(self._sockets)
        log_fields(
            logger,
            logging.INFO,
            "serving",
            version=__version__,
            region=self._aws.region,
            sagemaker=self._aws.runtime_url,
            **log_details,
        )
        await stop.wait()
        # A second signal ends the process at once.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
        await self._drain(server, services.state)
        await services.catalog.stop()
        await services.credentials.stop()
        await services.sagemaker.close()

    def _make_services(self) -> Services:
        credentials = CredentialsProvider(self._aws)
        signer = Signer(self._aws.region, self._aws.signing_name)
        return Services(
            config=self._config,
            keys=self._keys,
            credentials=credentials,
            catalog=Catalog(self._aws.control_plane, self._config.catalog),
            sagemaker=SageMaker(
                self._aws.runtime_url,
                self._aws.ssl_context,
                signer,
                credentials,
                self._config.upstream,
            ),
            state=WorkerState(),
        )

    def _make_server(self, services: Services) -> BoundedHTTPServer:
        config = self._config.server
        server = BoundedHTTPServer(
            make_application(services),
            ssl_options=self._ssl_context,
            max_header_size=config.max_header_bytes * _HEADER_SLACK,
            max_body_size=_NO_LIMIT,
            body_timeout=config.body_timeout_seconds,
            idle_connection_timeout=config.idle_timeout_seconds,
        )
        server.bound_connections(config.max_connections, services.state)
        return server

    async def _drain(self, server: BoundedHTTPServer, state: WorkerState) -> None:
        """Stop accepting, let what runs finish, close the rest."""
        seconds = self._config.server.drain_seconds
        state.draining = True
        server.stop()
        # Connections that stay open take no further request.
        server.conn_params.no_keep_alive = True
        log_fields(logger, logging.INFO, "draining", requests=state.open_requests, seconds=seconds)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while state.open_requests:
                    await state.idle.wait()
        cut = state.open_requests
        with suppress(TimeoutError):
            await asyncio.wait_for(server.close_all_connections(), timeout=2)
        log_fields(logger, logging.WARNING if cut else logging.INFO, "stopped", requests_cut=cut)
