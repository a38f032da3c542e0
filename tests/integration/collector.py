"""A collector of traces, as OpenTelemetry's protocol (OTLP over HTTP) has it."""

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Written

SERVER, CLIENT = Written.SPAN_KIND_SERVER, Written.SPAN_KIND_CLIENT
ERROR = "STATUS_CODE_ERROR"
UNSET = "STATUS_CODE_UNSET"


@dataclass(frozen=True)
class Span:
    """A span that has arrived; ids in hex, times in seconds since the epoch."""

    name: str
    kind: int
    trace_id: str
    span_id: str
    parent_id: str
    began: float
    ended: float
    status: str
    attributes: dict[str, Any]
    resource: dict[str, Any]


class Collector:
    """Listens on a free port of loopback from `listen` on; until then, connections are refused."""

    def __init__(self) -> None:
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.status = 200
        self.answers = threading.Event()  # while it is not set, nobody gets an answer
        self.answers.set()
        self._arrived = threading.Condition()
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.answers.set()
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
        self._socket.close()

    @property
    def url(self) -> str:
        """What a proxy is configured with."""
        return f"http://127.0.0.1:{self.port}"

    def listen(self) -> Self:
        """Take spans from now on."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self), bind_and_activate=False)
        server.socket.close()
        server.socket = self._socket
        server.server_activate()
        self._server = server
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def take(self, path: str, headers: dict[str, str], body: bytes) -> None:
        """A batch has arrived."""
        with self._arrived:
            self.paths.append(path)
            self.headers.append(headers)
            self.bodies.append(body)
            self._arrived.notify_all()

    def spans(self, trace_id: str = "") -> list[Span]:
        """All that have arrived, or those of a trace, in the order of their beginning."""
        found = [span for body in list(self.bodies) for span in _read(body)]
        found = [span for span in found if trace_id in ("", span.trace_id)]
        return sorted(found, key=lambda span: span.began)

    def wait_for(
        self, wanted: Callable[[list[Span]], bool], trace_id: str = "", seconds: float = 15
    ) -> list[Span]:
        """Those of a trace, or all, when they are as `wanted`."""
        deadline = time.monotonic() + seconds
        with self._arrived:
            while not wanted(spans := self.spans(trace_id)):
                left = deadline - time.monotonic()
                assert self._arrived.wait(max(left, 0)), spans
        return spans

    def wait_for_request(self, trace_id: str) -> tuple[Span, list[Span]]:
        """The request's own span, which is the last to end, and those in it."""
        spans = self.wait_for(lambda spans: any(span.kind == SERVER for span in spans), trace_id)
        (server,) = [span for span in spans if span.kind == SERVER]
        return server, [span for span in spans if span.kind == CLIENT]


def _read(body: bytes) -> list[Span]:
    request = ExportTraceServiceRequest.FromString(body)
    return [
        Span(
            span.name,
            span.kind,
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex(),
            span.start_time_unix_nano / 1e9,
            span.end_time_unix_nano / 1e9,
            type(span.status).StatusCode.Name(span.status.code),
            {item.key: _value(item.value) for item in span.attributes},
            {item.key: _value(item.value) for item in each.resource.attributes},
        )
        for each in request.resource_spans
        for scope in each.scope_spans
        for span in scope.spans
    ]


def _value(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value") or "string_value")


def _handler(collector: Collector) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.answers.wait()
            if collector.status == 200:
                names = dict(self.headers.items())
                collector.take(self.path, names, body)
            answer = ExportTraceServiceResponse().SerializeToString()
            self.send_response(collector.status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    return Handler
