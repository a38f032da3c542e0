"""OpenTelemetry's traces: a span for each request, and in it one for each call to SageMaker.

Names and attributes are those of OpenTelemetry's semantic conventions. Of what a client sends they
have the model's name, and neither path nor header nor body.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

from opentelemetry import context
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    format_trace_id,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from proxy import __version__
from proxy.errors import ProxyError
from proxy.otlp import Collector
from proxy.traceparent import Traceparent

# What the last spans have to be sent in, at the end.
_CLOSE_SECONDS = 2.0

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_MOST_CHARACTERS = 128


class Traces:
    """The spans of one worker, on their way to a collector."""

    def __init__(self, endpoint: str, sample_ratio: float) -> None:
        """``endpoint`` is the collector's URL.

        ``sample_ratio``, from 0 to 1, is the share of the requests that are recorded. Of those that
        are part of a trace already, its ``traceparent`` decides.
        """
        resource = Resource.create(
            {
                "service.name": "sagemaker-proxy",
                "service.version": __version__,
                "service.instance.id": str(uuid.uuid4()),
            }
        )
        self._collector = Collector(endpoint)
        self._provider = TracerProvider(
            sampler=ParentBasedTraceIdRatio(sample_ratio),
            resource=resource,
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(self._collector.batches())
        self._tracer = self._provider.get_tracer("proxy", __version__)

    def request(
        self, method: str, scheme: str, route: str | None, parent: Traceparent | None
    ) -> RequestSpan:
        """A request has begun; ``route`` is None where there is none for its path."""
        known = method if method in _METHODS else "_OTHER"
        attributes: dict[str, AttributeValue] = {"http.request.method": known, "url.scheme": scheme}
        shown = known if method in _METHODS else "HTTP"
        if route is not None:
            attributes["http.route"] = route
            shown += f" {route}"
        span = self._tracer.start_span(
            shown,
            Context() if parent is None else _remote(parent),
            SpanKind.SERVER,
            attributes,
        )
        return RequestSpan(span)

    def call(self, operation: str, url: str, before: int) -> CallSpan:
        """An attempt to call SageMaker begins, for the request that this task has entered.

        ``before`` is how many were made of the same call.
        """
        parts = urlsplit(url)
        template = f"/endpoints/{{name}}/{operation}"
        attributes: dict[str, AttributeValue] = {
            "http.request.method": "POST",
            "url.full": url,
            "url.template": template,
            "server.address": parts.hostname or "",
            "server.port": parts.port or (443 if parts.scheme == "https" else 80),
        }
        if before:
            attributes["http.request.resend_count"] = before
        span = self._tracer.start_span(
            f"POST {template}", kind=SpanKind.CLIENT, attributes=attributes
        )
        return CallSpan(span)

    async def close(self) -> None:
        """Send what is left, within a bound, and nothing more."""
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="traces")
        closing = asyncio.get_running_loop().run_in_executor(executor, self._provider.shutdown)
        try:
            await asyncio.wait_for(closing, _CLOSE_SECONDS)
        except TimeoutError:
            self._collector.note_away("there is no more time")
        finally:
            executor.shutdown(wait=False)


class RequestSpan:
    """A request, from its head to its answer's end."""

    def __init__(self, span: Span) -> None:
        self._span = span

    @property
    def trace_id(self) -> str | None:
        """The id of the trace that it is part of, in hex, whether that is recorded or not."""
        told = self._span.get_span_context()
        return format_trace_id(told.trace_id) if told.is_valid else None

    def enter(self) -> None:
        """From now on, what this task calls is called for this request."""
        context.attach(set_span_in_context(self._span, Context()))

    def end(
        self, status: int, model: str | None, key: str | None, details: Mapping[str, object]
    ) -> None:
        """It has ended. ``key`` is the key's name; ``details`` are those of the access log."""
        if not self._span.is_recording():
            return
        attributes: dict[str, AttributeValue] = {"http.response.status_code": status}
        if model:
            attributes["gen_ai.request.model"] = _text(model)
        if key is not None:
            attributes["enduser.id"] = key
        for name, detail in (("input", "prompt_tokens"), ("output", "completion_tokens")):
            if isinstance(tokens := details.get(detail), int):
                attributes[f"gen_ai.usage.{name}_tokens"] = tokens
        # Refusals are the client's errors, not this span's. A stream fails with a status of 200.
        if (error := details.get("error")) is not None and not 400 <= status < 500:
            attributes["error.type"] = str(error)
            self._span.set_status(StatusCode.ERROR)
        elif "client_gone" in details:
            attributes["error.type"] = "client_gone"
        self._span.set_attributes(attributes)
        self._span.end()


class CallSpan:
    """An attempt to call SageMaker, up to the end of its answer."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def answered(self, status: int) -> None:
        """SageMaker has taken the call; its answer is still to be read."""
        self._span.set_attribute("http.response.status_code", status)

    def end(self, error: BaseException | None) -> None:
        """It is over, by ``error`` if it was not the answer's end.

        An error that is none of ours means that nobody waits for the answer any more.
        """
        if not self._span.is_recording():
            return
        if isinstance(error, ProxyError):
            kind = error.code
            if (refusal := error.refusal) is not None:
                self._span.set_attribute("http.response.status_code", refusal.status)
                kind = refusal.error_type or str(refusal.status)
            self._span.set_attribute("error.type", _text(kind or error.native_type))
            self._span.set_status(StatusCode.ERROR)
        elif error is not None:
            self._span.set_attribute("error.type", type(error).__name__)
        self._span.end()


def _remote(parent: Traceparent) -> Context:
    told = SpanContext(
        trace_id=int(parent.trace_id, 16),
        span_id=int(parent.parent_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(parent.flags),
    )
    return set_span_in_context(NonRecordingSpan(told), Context())


def _text(value: str) -> str:
    """What can be written: a surrogate in one span would cost its whole batch."""
    return value[:_MOST_CHARACTERS].encode(errors="replace").decode()
