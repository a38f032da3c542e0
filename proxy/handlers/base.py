"""What every route shares: who calls, the bounds, the body, errors, the access log."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
import uuid
from http import HTTPStatus
from typing import Any, ClassVar

from tornado.web import HTTPError, RequestHandler, stream_request_body

from proxy import log
from proxy.errors import (
    ContainerError,
    DeadlineExceeded,
    HeadersTooLarge,
    InvalidKey,
    MethodNotAllowed,
    ProxyError,
    RequestTooLarge,
    RouteNotFound,
    TooManyConnections,
)
from proxy.handlers.services import Services
from proxy.keys import Caller

logger = logging.getLogger(__name__)

JSON = "application/json"

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}", re.ASCII)

# Of a body that is too large, this much is read and thrown away after the answer, so that the
# answer is not lost to a reset connection. What is longer loses its connection.
_DISCARD_BYTES = 64 * 1024 * 1024

_CLIENT_CLOSED_REQUEST = 499  # nginx's name for it; seen in the access log alone

_CORS_MAX_AGE_SECONDS = "600"


@stream_request_body
class BaseHandler(RequestHandler):
    """Subclasses set ``methods`` and write ``respond``; whatever they raise is answered here."""

    methods: ClassVar[tuple[str, ...]] = ("GET", "HEAD")
    public: ClassVar[bool] = False  # True where a request needs no key

    def initialize(self, services: Services, route: str) -> None:
        """Take what the application passes to each of its routes."""
        self.services = services
        self.route = route
        self.caller: Caller | None = None
        self.model: str | None = None
        self.log_details: dict[str, object] = {}
        self.bytes_out = 0
        self._began = time.monotonic()
        self._first_byte: float | None = None
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._refused = False
        self._ended = False
        self._client_gone = False
        self._task: asyncio.Task[Any] | None = None
        services.state.request_began()

    @property
    def request_id(self) -> str:
        """The client's own ``x-request-id`` if it is sane, else one of ours."""
        if not hasattr(self, "_request_id"):
            offered = self.request.headers.get("X-Request-Id", "")
            self._request_id = offered if _REQUEST_ID.fullmatch(offered) else uuid.uuid4().hex
        return self._request_id

    def set_default_headers(self) -> None:
        """Set what every answer carries."""
        self.set_header("Server", "sagemaker-proxy")
        self.set_header("X-Request-Id", self.request_id)
        self.set_header("X-Content-Type-Options", "nosniff")

    def compute_etag(self) -> None:
        """No ETag: no answer here is worth revalidating."""

    # --- before the body ---------------------------------------------------------------------

    def prepare(self) -> None:
        """Admit the request, or refuse it before its body is read."""
        try:
            self._set_cors_headers()
            self._admit()
        except ProxyError as error:
            self._refuse(error)

    def _admit(self) -> None:
        server = self.services.config.server
        headers = self.request.headers
        size = len(self.request.uri or "") + sum(len(k) + len(v) + 4 for k, v in headers.get_all())
        if size > server.max_header_bytes:
            raise HeadersTooLarge(
                f"the request line and headers are {size} bytes; "
                f"at most {server.max_header_bytes} are allowed"
            )
        excess = self.services.state.excess_connections
        if excess and self._stream in excess:
            raise TooManyConnections(
                f"the server has its {server.max_connections} connections; try again shortly",
                headers={"Retry-After": "1", "Connection": "close"},
            )
        if self.request.method == "OPTIONS":
            return
        if not self.public:
            self.caller = self._authenticate()
        if self.request.method not in self.methods:
            raise self._method_not_allowed()
        length = headers.get("Content-Length", "")
        if length.isdecimal() and int(length) > server.max_body_bytes:
            raise self._request_too_large()

    def _authenticate(self) -> Caller:
        headers = self.request.headers
        scheme, _, bearer = headers.get("Authorization", "").partition(" ")
        offered = [headers.get("X-API-Key", ""), bearer if scheme.lower() == "bearer" else ""]
        for key in filter(None, offered):
            if caller := self.services.keys.find(key):
                return caller
        raise InvalidKey(
            "the API key is not valid"
            if any(offered)
            else "an API key is needed: send 'Authorization: Bearer KEY' or 'X-API-Key: KEY'",
            headers={"WWW-Authenticate": "Bearer"},
        )

    def _allow(self) -> str:
        return ", ".join((*self.methods, "OPTIONS"))

    def _method_not_allowed(self) -> MethodNotAllowed:
        return MethodNotAllowed(
            f"{self.request.method} is not allowed here; use {' or '.join(self.methods)}",
            headers={"Allow": self._allow()},
        )

    def _request_too_large(self) -> RequestTooLarge:
        limit = self.services.config.server.max_body_bytes
        return RequestTooLarge(f"the request body is over the limit of {limit} bytes")

    def _set_cors_headers(self) -> None:
        allowed = self.services.config.server.allowed_origins
        if not allowed:
            return
        self.set_header("Vary", "Origin")
        origin = self.request.headers.get("Origin", "")
        if origin and (origin in allowed or "*" in allowed):
            self.set_header("Access-Control-Allow-Origin", origin)
            self.set_header("Access-Control-Expose-Headers", "x-request-id, retry-after")
            if self.request.method == "OPTIONS":
                asked = self.request.headers.get("Access-Control-Request-Headers", "")
                self.set_header("Access-Control-Allow-Methods", self._allow())
                self.set_header("Access-Control-Allow-Headers", asked)
                self.set_header("Access-Control-Max-Age", _CORS_MAX_AGE_SECONDS)

    def _refuse(self, error: ProxyError) -> None:
        """Answer at once; the body, if one is coming, is discarded before the request ends."""
        self._refused = True
        self._body.clear()
        self._render(error)
        if self.request.headers.get("Expect"):
            self.finish()  # the client waits for our word before it sends its body
        else:
            self.flush()

    # --- the body ----------------------------------------------------------------------------

    def data_received(self, chunk: bytes) -> None:
        """Collect the body, within its bound."""
        self._body_bytes += len(chunk)
        limit = self.services.config.server.max_body_bytes
        if self._refused:
            if self._body_bytes > limit + _DISCARD_BYTES and not self._finished:
                self.finish()  # closes the connection, for the body is not read to its end
        elif self._body_bytes > limit:
            self._refuse(self._request_too_large())
        else:
            self._body.append(chunk)

    @property
    def body(self) -> bytes:
        """The whole body."""
        return self._body[0] if len(self._body) == 1 else b"".join(self._body)

    # --- the answer --------------------------------------------------------------------------

    async def respond(self, *path: str) -> None:
        """Answer the request. ``path`` holds the groups of the route's pattern."""
        raise NotImplementedError

    async def _dispatch(self, *path: str) -> None:
        if self._refused:
            return
        self._task = asyncio.current_task()
        try:
            async with asyncio.timeout(self.services.config.server.request_timeout_seconds):
                await self.respond(*path)
        except ProxyError as error:
            self._fail(error)
        except TimeoutError:
            self._fail(DeadlineExceeded("the request took longer than the server allows"))
        except asyncio.CancelledError:
            if not self._client_gone or self._task is None:
                raise
            self._task.uncancel()
        except Exception as exc:
            self.log_exception(type(exc), exc, exc.__traceback__)
            self._fail(ProxyError(_UNFORESEEN))
        finally:
            self._task = None

    get = head = post = put = patch = delete = _dispatch

    def options(self, *_path: str) -> None:
        """Say which methods there are; a browser's preflight is answered by the CORS headers."""
        if not self._refused:
            self.set_status(HTTPStatus.NO_CONTENT)
            self.set_header("Allow", self._allow())

    def write_json(self, value: object) -> None:
        """Answer with ``value`` as JSON."""
        self.set_header("Content-Type", JSON)
        self.write(json.dumps(value, separators=(",", ":")).encode())

    def write(self, chunk: str | bytes | dict[str, Any]) -> None:
        """Add to the answer, and count it."""
        self.bytes_out += len(chunk)
        super().write(chunk)

    def flush(self, include_footers: bool = False) -> asyncio.Future[None]:
        """Send what has been written; done when the socket has taken it."""
        if self._first_byte is None:
            self._first_byte = time.monotonic()
            if self.services.state.draining:
                self.set_header("Connection", "close")
        return super().flush(include_footers)

    @property
    def _stream(self) -> Any:
        return self.request.connection.stream  # type: ignore[union-attr]

    def send_small_writes_at_once(self) -> None:
        """Turn Nagle's algorithm off; Tornado turns it on again after each request."""
        self._stream.set_nodelay(True)

    # --- errors ------------------------------------------------------------------------------

    def _fail(self, error: ProxyError) -> None:
        if error.log_message:
            log.log_fields(
                logger,
                logging.ERROR if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR else logging.INFO,
                error.log_message,
                request_id=self.request_id,
                model=self.model,
                code=error.code,
            )
        if self._headers_written:
            self.log_details["error"] = error.code
            self.fail_late(error)
        else:
            self._render(error)

    def fail_late(self, error: ProxyError) -> None:
        """End an answer that has begun: cut it off, so that it cannot pass for whole."""
        self._stream.close()

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer what Tornado itself refuses, before ``prepare`` or in place of it."""
        if status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            error: ProxyError = self._method_not_allowed()
        elif status_code < HTTPStatus.INTERNAL_SERVER_ERROR:
            error = RouteNotFound("the request path is not valid")
            error.status = status_code
        else:
            error = ProxyError(_UNFORESEEN)
        self._render(error)
        self.finish()

    def _render(self, error: ProxyError) -> None:
        self._write_buffer.clear()
        self.bytes_out = 0
        self.log_details["error"] = error.code
        status, headers, body = self.format_error(error)
        self.set_status(status, _reason(status))
        for name, value in {**error.headers, **headers, "Content-Length": str(len(body))}.items():
            self.set_header(name, value)
        if self.request.method != "HEAD":
            self.write(body)

    def format_error(self, error: ProxyError) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of ``error``: OpenAI's shape, or the container's own body."""
        if isinstance(error, ContainerError) and _is_json_object(error.answer.body):
            body = error.answer.body
        else:
            body = json.dumps(error.to_openai())
        return error.status, {"Content-Type": JSON}, body.encode()

    def log_exception(self, typ: Any, value: BaseException | None, tb: Any) -> None:
        """Log what nobody foresaw, with its traceback."""
        if value is not None and not isinstance(value, HTTPError):
            fields = {"request_id": self.request_id, "route": self.route}
            logger.error("unforeseen error", exc_info=value, extra={"fields": fields})

    # --- the end -----------------------------------------------------------------------------

    def on_connection_close(self) -> None:
        """The client has left: stop working for it."""
        super().on_connection_close()
        self._client_gone = True
        if not self._headers_written:
            self.set_status(_CLIENT_CLOSED_REQUEST, "Client Closed Request")
        self.log_details["client_gone"] = True
        if self._task is not None:
            self._task.cancel()
        else:
            self._end()  # it left in the middle of its body, so nothing else will

    def on_finish(self) -> None:
        """The answer is complete."""
        self._end()

    def _end(self) -> None:
        if self._ended:
            return
        self._ended = True
        self.services.state.request_ended()
        took = time.monotonic() - self._began
        first_byte = None if self._first_byte is None else self._first_byte - self._began
        log.log_fields(
            log.ACCESS,
            logging.INFO,
            "request",
            request_id=self.request_id,
            key=self.caller.name if self.caller else None,
            client=self.request.remote_ip,
            method=self.request.method,
            route=self.route,
            model=self.model,
            status=self.get_status(),
            milliseconds=round(took * 1000, 1),
            first_byte_milliseconds=None if first_byte is None else round(first_byte * 1000, 1),
            bytes_in=self._body_bytes,
            bytes_out=self.bytes_out,
            **self.log_details,
        )


class NotFoundHandler(BaseHandler):
    """Every path that no route takes."""

    methods = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

    async def respond(self, *path: str) -> None:
        """Say so."""
        raise RouteNotFound("no such path; see the README for the routes")


_UNFORESEEN = "an error in the proxy itself; its log has the details under the request id"


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
