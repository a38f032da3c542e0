"""Sends spans to a collector by OTLP, from a thread of its own, and says once when that is away.

What waits is bounded, and so is each try. Where the environment has more to say
(``OTEL_EXPORTER_OTLP_HEADERS``, ``…_CERTIFICATE``), the exporter reads it itself.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

import requests
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from proxy.log import log_fields

logger = logging.getLogger(__name__)

_PATH = "/v1/traces"

# What waits to be sent. While it is full, the oldest are lost.
_QUEUE_SPANS = 2048
# To write so many takes 5 ms, in which the event loop has to share the interpreter.
_BATCH_SPANS = 128
_PAUSE_SECONDS = 1.0

# For a batch, with its retries.
_BATCH_SECONDS = 5.0


class Collector(SpanExporter):
    """The collector at a URL, which may hold a user and password. To be made once a worker."""

    def __init__(self, endpoint: str) -> None:
        """``endpoint`` is the URL without ``/v1/traces``."""
        parts = urlsplit(endpoint)
        self._name = parts.netloc.rpartition("@")[2]  # the rest may be secret
        self._session = _Session()
        self._exporter = OTLPSpanExporter(
            endpoint.rstrip("/") + _PATH, timeout=_BATCH_SECONDS, session=self._session
        )
        self._is_away = False
        _take_over_logging()

    def batches(self) -> BatchSpanProcessor:
        """What hands spans over to this, many at once."""
        return BatchSpanProcessor(
            self,
            max_queue_size=_QUEUE_SPANS,
            schedule_delay_millis=_PAUSE_SECONDS * 1000,
            max_export_batch_size=_BATCH_SPANS,
        )

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them, in the thread of the batches."""
        self._session.problem = "it could not be written"
        result = self._exporter.export(spans)
        if self._session.problem is not None:
            self.note_away(self._session.problem)
        elif self._is_away:
            self._is_away = False
            log_fields(logger, logging.INFO, "traces are sent again", collector=self._name)
        return result

    def note_away(self, reason: str) -> None:
        """Say that what there is cannot be sent, if that was not said already."""
        if not self._is_away:
            self._is_away = True
            fields = {"collector": self._name, "reason": reason}
            log_fields(logger, logging.WARNING, "traces cannot be sent, and are lost", **fields)

    def shutdown(self) -> None:
        """Try nothing more."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]


class _Session(requests.Session):
    """Takes neither proxies nor passwords from the environment, and notes how a request ended."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False
        self.problem: str | None = None

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:
        try:
            response = super().send(request, **kwargs)
        except requests.RequestException as exc:
            self.problem = type(exc).__name__  # its text has the URL
            raise
        # The exporter takes a redirection, which it does not follow, for success.
        is_taken = 200 <= response.status_code < 300
        self.problem = None if is_taken else f"status {response.status_code}"
        return response


class _Telling(logging.Handler):
    """Passes on what OpenTelemetry logs: each message once, without what it quotes.

    What becomes of batches is ours to tell.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._told: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        message = str(record.msg)
        if record.name.startswith("opentelemetry.exporter") or message in self._told:
            return
        self._told.add(message)
        fields = {"source": record.name, "reason": message}
        log_fields(logger, record.levelno, "OpenTelemetry has a problem", **fields)


def _take_over_logging() -> None:
    theirs = logging.getLogger("opentelemetry")
    theirs.handlers[:] = [_Telling()]
    theirs.propagate = False
