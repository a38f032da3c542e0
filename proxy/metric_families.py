"""Which metrics there are: their names, what they tell, their labels, and a histogram's bounds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PREFIX = "sagemaker_proxy"

# From a refusal to the longest answer.
_SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0),
)
_WAIT_SECONDS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 180.0, 300.0, 600.0)
_LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Kind(StrEnum):
    """What Prometheus calls a metric's type."""

    COUNTER = "counter"
    GAUGE = "gauge"  # of this moment: it ends with the worker that has set it
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Family:
    """One metric. A series of it, for a value of each label, is ``size`` numbers."""

    name: str  # without the prefix
    help: str
    labels: tuple[str, ...] = ()
    kind: Kind = Kind.COUNTER
    bounds: tuple[float, ...] = ()  # of a histogram's buckets, in seconds

    @property
    def size(self) -> int:
        """A counter or gauge is one; a histogram is a count for each bucket, then the sum."""
        return len(self.bounds) + 2 if self.kind is Kind.HISTOGRAM else 1


REQUESTS = Family("requests_total", "Requests that have ended", ("route", "model", "status"))
DURATIONS = Family(
    "request_duration_seconds",
    "From a request's head to its answer's end",
    ("route", "model"),
    Kind.HISTOGRAM,
    _SECONDS,
)
FIRST_BYTES = Family(
    "time_to_first_byte_seconds",
    "From a request's head to its answer's first byte",
    ("route", "model"),
    Kind.HISTOGRAM,
    _SECONDS,
)
TOKENS = Family("tokens_total", "Tokens that answers told of", ("model", "kind"))
KEY_REQUESTS = Family(
    "key_requests_total", "Requests that have ended, by the key's name", ("key", "status")
)
KEY_TOKENS = Family(
    "key_tokens_total", "Tokens that answers told of, by the key's name", ("key", "kind")
)
UPSTREAM = Family("upstream_requests_total", "Attempts to call SageMaker", ("operation", "status"))
RETRIES = Family("upstream_retries_total", "Attempts made once more", ("reason",))
WAITS = Family("waking_waits_total", "Calls that waited for a model to wake")
WAIT_SECONDS = Family(
    "waking_wait_seconds", "How long they waited", (), Kind.HISTOGRAM, _WAIT_SECONDS
)
LIMITED = Family("limited_total", "Requests refused by a limit", ("reason",))
LAG = Family(
    "event_loop_lag_seconds", "How late the event loop is", (), Kind.HISTOGRAM, _LAG_SECONDS
)
CONNECTIONS = Family("connections", "Open connections of clients", (), Kind.GAUGE)
REQUESTS_OPEN = Family("requests_open", "Requests that have not ended", (), Kind.GAUGE)
STREAMS_OPEN = Family("streams_open", "Streamed answers that have not ended", (), Kind.GAUGE)
QUEUED = Family("queued", "Requests that wait for their turn", (), Kind.GAUGE)
WAKING = Family("waking", "Calls that wait for a model to wake", (), Kind.GAUGE)

FAMILIES = (
    REQUESTS,
    DURATIONS,
    FIRST_BYTES,
    TOKENS,
    KEY_REQUESTS,
    KEY_TOKENS,
    UPSTREAM,
    RETRIES,
    WAITS,
    WAIT_SECONDS,
    LIMITED,
    LAG,
    CONNECTIONS,
    REQUESTS_OPEN,
    STREAMS_OPEN,
    QUEUED,
    WAKING,
)
