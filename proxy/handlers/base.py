"""What every route shares: admission, the body, the answer, errors."""

from __future__ import annotations

import asyncio
import json
import logging
from http import HTTPStatus
from typing import ClassVar
from urllib.parse import unquote_to_bytes

from tornado.iostream import StreamClosedError

from proxy import log
from proxy.errors import (
    ContainerError,
    DeadlineExceeded,
    InvalidRequest,
    ModelNotFound,
    ProxyError,
    RouteNotFound,
    TooManyConnections,
)
from proxy.handlers import admission
from proxy.handlers.lifecycle import RequestLifecycle
from proxy.handlers.services import Services
from proxy.http_request import Request
from proxy.server_connection import ServerConnection

logger = logging.getLogger(__name__)

JSON = "application/json"

_UNFORESEEN = "an error in the proxy itself; its log has the details under the request id"

_TOO_LONG = "the request took longer than the server allows"

# Of a body that is too large, this much is read and thrown away after the answer, so that the
# answer is not lost to a reset connection. What is longer loses its connection.
_DISCARD_BYTES = 64 * 1024 * 1024


class BaseHandler(RequestLifecycle):
    """Subclasses set ``methods`` and write ``respond``; whatever they raise is answered here."""

    methods: ClassVar[tuple[str, ...]] = ("GET", "HEAD")
    public: bool = False  # True where a request needs no key

    def __init__(
        self,
        services: Services,
        route: str,
        connection: ServerConnection,
        request: Request,
        groups: tuple[str, ...] = (),
    ) -> None:
        """``groups`` are those of the route's pattern, still percent-encoded."""
        super().__init__(services, route, connection, request)
        self._groups = groups
        self._path: tuple[str, ...] = ()
        self._body: list[bytes] = []
        self._refused = False
        self._timed_out = False

    # --- before the body ---------------------------------------------------------------------

    def prepare(self) -> None:
        """Admit the request, or refuse it before its body is read."""
        origins = self.services.config.server.allowed_origins
        for name, value in admission.cors_headers(self.request, origins, self.methods):
            self.set_header(name, value)
        try:
            self._admit()
        except ProxyError as error:
            self._refuse(error)
        except Exception as exc:
            self._log_unforeseen(exc)
            self._refuse(ProxyError(_UNFORESEEN))

    def _admit(self) -> None:
        server, headers = self.services.config.server, self.request.headers
        admission.check_headers(self.request, server)
        excess = self.services.state.excess_connections
        if excess and self.stream in excess:
            self.close_when_sent = True
            raise TooManyConnections(
                f"the server has its {server.max_connections} connections; try again shortly",
                headers={"Retry-After": "1"},
            )
        if self.request.method == "OPTIONS":
            return
        if not self.public:
            self.caller = admission.authenticate(self.request, self.services)
        if self.request.method not in self.methods:
            raise admission.method_not_allowed(self.request.method, self.methods)
        admission.check_announced_body(headers, server)
        try:
            self._path = tuple(unquote_to_bytes(group).decode() for group in self._groups)
        except UnicodeDecodeError:
            raise InvalidRequest("the request path is not valid") from None

    def _refuse(self, error: ProxyError) -> None:
        """Answer at once; the body, if one is coming, is discarded before the request ends."""
        self._refused = True
        self._body.clear()
        self._render(error)
        headers = self.request.headers
        if "expect" in headers and admission.awaits_body(headers):
            # The client waits for our word before it sends its body. It will not come now.
            self.close_when_sent = True
            self.finish()
        else:
            self.flush()
            self.count_out()  # its answer is sent: a drain need not wait for the rest of its body

    def may_call(self, model: str) -> bool:
        """Whether the caller's key is for ``model``."""
        return self.caller is not None and self.caller.may_call(model)

    @property
    def caller_name(self) -> str:
        """The name of the caller's key; empty on a public route."""
        return self.caller.name if self.caller else ""

    def check_access(self, model: str) -> None:
        """Raise ``ModelNotFound`` if the caller's key is not for ``model``, be there one or not."""
        if not self.may_call(model):
            raise ModelNotFound(model)

    # --- the body ----------------------------------------------------------------------------

    def data_received(self, chunk: bytes) -> None:
        """Keep the body, within its bound, of a request that has a use for one."""
        self.bytes_in += len(chunk)
        server = self.services.config.server
        if self._refused:
            if self.bytes_in > server.max_body_bytes + _DISCARD_BYTES and not self._finished:
                self.finish()  # closes the connection, for the body is not read to its end
        elif self.bytes_in > server.max_body_bytes:
            self._refuse(admission.request_too_large(server))
        elif self.caller is not None and self.request.method == "POST":
            self._body.append(chunk)

    def body_broken(self, reason: str) -> None:
        """What was to be the body is none: say so, and read no more of this client."""
        self.close_when_sent = True
        if not self._refused:
            self._refused = True
            self._body.clear()
            self._render(InvalidRequest(reason))
        self.finish()

    def take_body(self) -> bytes:
        """The whole body, which is not kept here from now on."""
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        return body

    # --- the answer --------------------------------------------------------------------------

    async def serve(self, *path: str) -> None:
        """``respond``, with what has to be before and after it."""
        await self.respond(*path)

    async def respond(self, *path: str) -> None:
        """Answer the request. ``path`` holds the groups of the route's pattern."""
        raise NotImplementedError

    def body_received(self) -> None:
        """The request is whole: answer it, if it has not been refused."""
        self.services.state.request_received(self.stream)
        if self._refused:
            if not self._finished:
                self.finish()
        elif self.request.method == "OPTIONS":
            # A browser's preflight is answered by the CORS headers.
            self.set_status(HTTPStatus.NO_CONTENT)
            self.set_header("Allow", admission.allow(self.methods))
            self.finish()
        else:
            self.task = asyncio.get_running_loop().create_task(self._answer())

    async def _answer(self) -> None:
        if self.span is not None:
            self.span.enter()
        loop = asyncio.get_running_loop()
        seconds = self.services.config.server.request_timeout_seconds
        deadline = loop.call_later(seconds, self._time_out)
        try:
            await self.serve(*self._path)
        except ProxyError as error:
            self._fail(error)
            # It holds the frames that it came through, and where one holds it, too, all of this
            # would stay until the garbage collector comes by, which is seldom.
            error.__traceback__ = None
        except TimeoutError:
            self._fail(DeadlineExceeded(_TOO_LONG))
        except StreamClosedError:
            self.note_client_gone()
        except asyncio.CancelledError:
            if self.task is None or not (self.client_gone or self._timed_out):
                raise
            self.task.uncancel()
            if not self.client_gone:
                self._fail(DeadlineExceeded(_TOO_LONG))
        except Exception as exc:
            self._log_unforeseen(exc)
            self._fail(ProxyError(_UNFORESEEN))
        finally:
            deadline.cancel()
            self.task = None
        if not self._finished:
            self.finish()

    def _time_out(self) -> None:
        if self.task is not None:
            self._timed_out = True
            self.task.cancel()

    def write_json(self, value: object) -> None:
        """Answer with ``value`` as JSON."""
        self.set_header("Content-Type", JSON)
        self.write(json.dumps(value, separators=(",", ":")).encode())

    # --- errors ------------------------------------------------------------------------------

    def _fail(self, error: ProxyError) -> None:
        self.log_failure(error)
        if self.has_begun:
            self.fail_late(error)
        else:
            self._render(error)

    def log_failure(self, error: ProxyError) -> None:
        """Tell the operator of an error, which the client is told of otherwise."""
        self.log_details["error"] = error.code
        if error.log_message:
            level = logging.ERROR if error.status >= 500 else logging.INFO
            fields = {"request_id": self.request_id, "model": self.model, "code": error.code}
            log.log_fields(logger, level, error.log_message, **fields)

    def fail_late(self, error: ProxyError) -> None:
        """End an answer that has begun: cut it off, so that it cannot pass for whole."""
        self.stream.close()

    def _render(self, error: ProxyError) -> None:
        self.forget_unsent()
        self.bytes_out = 0
        self.log_details["error"] = error.code
        self._pace(error)
        status, headers, body = self.format_error(error)
        self.set_status(status)
        for name, value in {**error.headers, **headers, "Content-Length": str(len(body))}.items():
            self.set_header(name, value)
        if self.request.method != "HEAD":
            self.write(body)

    def _pace(self, error: ProxyError) -> None:
        """Let a client that brings one error after the other wait for its next."""
        state = self.services.state
        if not isinstance(error, ContainerError) and not state.draining:
            self.pause_after(state.error_pace.turn(asyncio.get_running_loop().time()))

    def format_error(self, error: ProxyError) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of ``error``: OpenAI's shape, or the container's own body."""
        if isinstance(error, ContainerError) and _is_json_object(error.answer.body):
            body = error.answer.body
        else:
            body = json.dumps(error.to_openai())
        return error.status, {"Content-Type": JSON}, body.encode(errors="replace")

    def _log_unforeseen(self, exc: Exception) -> None:
        fields = {"request_id": self.request_id, "route": self.route}
        logger.error("unforeseen error", exc_info=exc, extra={"fields": fields})


class NotFoundHandler(BaseHandler):
    """Every path that no route takes."""

    methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

    async def respond(self, *path: str) -> None:
        """Say so."""
        raise RouteNotFound("no such path; see the README for the routes")


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
