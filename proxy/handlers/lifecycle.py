"""A request from its arrival to the moment the client has taken the answer, or has left."""

from __future__ import annotations

import asyncio
import random
import re
import time
from typing import TYPE_CHECKING, Any

from tornado.iostream import StreamClosedError

from proxy import log, traceparent
from proxy.answer import Answer
from proxy.handlers.exchange import Exchange
from proxy.handlers.services import Services
from proxy.http_request import Request
from proxy.keys import Caller
from proxy.server_connection import ServerConnection
from proxy.traceparent import Traceparent

if TYPE_CHECKING:
    from proxy.traces import RequestSpan, Traces

NO_ROUTE = "unknown"  # what log and metrics call a path that none takes

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)
_CLIENT_CLOSED_REQUEST = 499  # nginx's name for it; seen in the access log alone
_LOGGED_METHOD_CHARACTERS = 20


def _new_id() -> str:
    return f"{random.getrandbits(128):032x}"


class RequestLifecycle(Exchange):
    """Names the request, counts it in and out, notices its client leave, and logs its end."""

    def __init__(
        self, services: Services, route: str, connection: ServerConnection, request: Request
    ) -> None:
        """``route`` is the name of the path's route."""
        super().__init__(connection, request)
        self.services = services
        self.route = route
        self.caller: Caller | None = None
        self.model: str | None = None
        self.log_details: dict[str, object] = {}
        self.bytes_in = 0
        self.bytes_out = 0
        self.task: asyncio.Task[Any] | None = None  # what to cancel when the client leaves
        self.client_gone = False
        self.close_when_sent = False
        self.answer: Answer | None = None  # the model's, when it is to be passed on
        self._streams = False
        self._began = time.monotonic()
        self._first_byte: float | None = None
        self._counted = True
        self._ended = False
        self.span = None if services.traces is None else self._begin_span(services.traces)
        # The client's own, if it is sane.
        offered = request.headers.get("x-request-id", "")
        self.request_id = offered if _REQUEST_ID.fullmatch(offered) else _new_id()
        self.set_header("Server", "sagemaker-proxy")
        self.set_header("X-Request-Id", self.request_id)
        self.set_header("X-Content-Type-Options", "nosniff")
        services.state.request_began(self.stream)

    # --- the trace ---------------------------------------------------------------------------

    def _begin_span(self, traces: Traces) -> RequestSpan:
        route = None if self.route == NO_ROUTE else self.route
        parent = self._read_traceparent()
        return traces.request(self.request.method, self.request.protocol, route, parent)

    def _trace_id(self) -> str | None:
        if self.span is not None:
            return self.span.trace_id
        parent = self._read_traceparent()
        return parent.trace_id if parent else None

    def _read_traceparent(self) -> Traceparent | None:
        return traceparent.read(self.request.headers.get("traceparent", ""))

    # --- the answer on its way ---------------------------------------------------------------

    def write(self, chunk: bytes) -> None:
        """Add to the answer, and count it."""
        self.bytes_out += len(chunk)
        super().write(chunk)

    def _begin(self) -> bytes:
        self._first_byte = time.monotonic()
        if self.request.version == "HTTP/1.0" and "Content-Length" not in self._headers:
            self.close_when_sent = True  # only the connection's end can tell where this answer ends
        if self.services.state.leaving:
            self.close_when_sent = True  # its client's next connection leads elsewhere
        if self.close_when_sent or self.services.state.draining:
            self.set_header("Connection", "close")
        return super()._begin()

    def count_stream(self) -> None:
        """This answer is sent as it comes."""
        if not self._streams:
            self._streams = True
            self.services.state.open_streams += 1

    def finish(self) -> asyncio.Future[None]:
        """Complete the answer. The request ends when the client has taken it all, or too long."""
        try:
            sent = super().finish()
        except StreamClosedError:
            self._finished = True
            self.note_client_gone()
            self._end()
            sent = asyncio.get_running_loop().create_future()
            sent.set_result(None)
            return sent
        except Exception:  # a length, say, that is not the answer's
            self.stream.close()
            self._end()
            raise
        if sent.done():
            self._end()
        else:
            seconds = self.services.config.server.body_timeout_seconds
            give_up = asyncio.get_running_loop().call_later(seconds, self.stream.close)
            sent.add_done_callback(lambda future: self._sent(future, give_up))
        return sent

    def _sent(self, future: asyncio.Future[None], give_up: asyncio.TimerHandle) -> None:
        give_up.cancel()
        if future.exception() is not None:
            self.note_client_gone()
        self._end()

    # --- the end -----------------------------------------------------------------------------

    def on_connection_close(self) -> None:
        """The client has left: stop working for it."""
        self.note_client_gone()
        if self.task is not None:
            self.task.cancel()
        else:
            self._end()  # it left in the middle of its body, so nothing else will

    def note_client_gone(self) -> None:
        """The client has left; the log will say so."""
        self.client_gone = True
        self.log_details["client_gone"] = True
        if not self._headers_written:
            self.set_status(_CLIENT_CLOSED_REQUEST, "Client Closed Request")

    def count_out(self) -> None:
        """From now on a drain need not wait for this request."""
        if self._counted:
            self._counted = False
            self.services.state.request_ended(self.stream)

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self.count_out()
        if self._streams:
            self.services.state.open_streams -= 1
        key = self.caller.name if self.caller else None
        if self.span is not None:
            self.span.end(self.status, self.model, key, self.log_details)
        began, first_byte = self._began, self._first_byte
        status = self.status
        first_byte_seconds = None if first_byte is None else first_byte - began
        self.services.metrics.request_ended(
            self.route, self.model, key, status, time.monotonic() - began, first_byte_seconds
        )
        if key is not None and self.model:
            first_token_seconds = first_byte_seconds if self._streams else None
            self.services.figures.request_ended(key, self.model, status, first_token_seconds)
        log.log_access(
            began=began,
            first_byte=first_byte,
            upstream_seconds=self.answer.first_byte_seconds if self.answer else None,
            trace_id=self._trace_id(),
            request_id=self.request_id,
            key=key,
            client=self.request.remote_ip,
            method=self.request.method[:_LOGGED_METHOD_CHARACTERS],
            route=self.route,
            model=self.model,
            status=status,
            bytes_in=self.bytes_in,
            bytes_out=self.bytes_out,
            **self.log_details,
        )
        if self.close_when_sent or self.services.state.closes_connections:
            self.stream.close()
