"""What is counted and timed, for Prometheus: made once a worker, with a method for each event.

Whoever counts says what has happened, and never a metric's name.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values

from proxy import metric_files
from proxy.labels import NONE, Labels, Seen, read_seen

PREFIX = "sagemaker_proxy"

LimitReason = Literal["requests", "tokens", "concurrency", "overload", "guesses"]
RetryReason = Literal["throttled", "connection", "credentials"]

# From a refusal to the longest answer.
_SECONDS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1, 2.5, 5, 10, 30, 60, 120, 300, 900),
)
_WAIT_SECONDS = (0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 180, 300, 600)
_LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


@dataclass(slots=True)
class _Series:
    """Of one route and model."""

    model: str
    statuses: dict[int, Counter]
    duration: Histogram
    first_byte: Histogram


class Metrics:
    """In the worker's own memory, or where ``use_files`` has led."""

    def __init__(
        self, knows: Callable[[str], bool] = lambda model: True, seen: Seen | None = None
    ) -> None:
        """``knows`` tells of a model's name whether it is known; ``seen`` is what there were."""
        self._labels = Labels(knows, seen or Seen())
        self.registry = CollectorRegistry()
        counter = partial(Counter, namespace=PREFIX, registry=self.registry)
        histogram = partial(Histogram, namespace=PREFIX, registry=self.registry)
        gauge = partial(
            Gauge, namespace=PREFIX, registry=self.registry, multiprocess_mode="livesum"
        )

        self._requests = counter(
            "requests_total", "Requests that have ended", ("route", "model", "status")
        )
        self._durations = histogram(
            "request_duration_seconds",
            "From a request's head to its answer's end",
            ("route", "model"),
            buckets=_SECONDS,
        )
        self._first_bytes = histogram(
            "time_to_first_byte_seconds",
            "From a request's head to its answer's first byte",
            ("route", "model"),
            buckets=_SECONDS,
        )
        self._tokens = counter("tokens_total", "Tokens that answers told of", ("model", "kind"))
        self._key_requests = counter(
            "key_requests_total", "Requests that have ended, by the key's name", ("key", "status")
        )
        self._key_tokens = counter(
            "key_tokens_total", "Tokens that answers told of, by the key's name", ("key", "kind")
        )
        self._upstream = counter(
            "upstream_requests_total", "Attempts to call SageMaker", ("operation", "status")
        )
        self._retries = _ready(
            counter("upstream_retries_total", "Attempts made once more", ("reason",)), RetryReason
        )
        self._waits = counter("waking_waits_total", "Calls that waited for a model to wake")
        self._wait_seconds = histogram(
            "waking_wait_seconds", "How long they waited", buckets=_WAIT_SECONDS
        )
        self._limited = _ready(
            counter("limited_total", "Requests refused by a limit", ("reason",)), LimitReason
        )
        self._connections = gauge("connections", "Open connections of clients")
        self._open = gauge("requests_open", "Requests that have not ended")
        self._streams = gauge("streams_open", "Streamed answers that have not ended")
        self._queued = gauge("queued", "Requests that wait for their turn")
        self._waking = gauge("waking", "Calls that wait for a model to wake")
        self._lag = histogram(
            "event_loop_lag_seconds", "How late the event loop is", buckets=_LAG_SECONDS
        )

        self._waking_now = 0

        # A look-up each, where labels() would take several microseconds.
        self._series: dict[tuple[str, str | None], _Series] = {}
        self._by_key: dict[tuple[str, int], Counter] = {}
        self._by_attempt: dict[tuple[str, str], Counter] = {}
        self._tokens_of: dict[tuple[Counter, str], tuple[Counter, Counter]] = {}

    # --- requests ----------------------------------------------------------------------------

    def request_ended(
        self,
        route: str,
        model: str | None,
        key: str | None,
        status: int,
        seconds: float,
        first_byte_seconds: float | None,
    ) -> None:
        """A request has been answered, or its client has left."""
        series = self._series.get((route, model)) or self._find_series(
            route, model, answered=status < 400
        )
        status //= 100
        by_status = series.statuses.get(status)
        if by_status is None:
            labels = (route, series.model, _status_class(status))
            by_status = series.statuses[status] = self._requests.labels(*labels)
        by_status.inc()
        series.duration.observe(seconds)
        if first_byte_seconds is not None:
            series.first_byte.observe(first_byte_seconds)
        if key is not None:
            by_key = self._by_key.get((key, status))
            if by_key is None:
                labels_of_key = (self._labels.key(key), _status_class(status))
                by_key = self._by_key[key, status] = self._key_requests.labels(*labels_of_key)
            by_key.inc()

    def tokens_used(self, model: str, key: str, prompt: int, completion: int) -> None:
        """An answer has told what it cost."""
        for counter, name in ((self._tokens, model), (self._key_tokens, key)):
            kinds = self._tokens_of.get((counter, name))
            if kinds is None:
                kinds = self._find_tokens(counter, name)
            kinds[0].inc(prompt)
            kinds[1].inc(completion)

    def limited(self, by: LimitReason) -> None:
        """A request was refused by a limit."""
        self._limited[by].inc()

    # --- SageMaker ---------------------------------------------------------------------------

    def attempted(self, operation: str, outcome: int | Literal["failed"]) -> None:
        """SageMaker has answered with a status, or the way to it or back has failed."""
        status = outcome if isinstance(outcome, str) else _status_class(outcome // 100)
        by_attempt = self._by_attempt.get((operation, status))
        if by_attempt is None:
            by_attempt = self._upstream.labels(operation, status)
            self._by_attempt[operation, status] = by_attempt
        by_attempt.inc()

    def retried(self, reason: RetryReason) -> None:
        """An attempt is made once more."""
        self._retries[reason].inc()

    def wait_began(self) -> None:
        """A call waits for a model to wake."""
        self._waits.inc()
        self._waking_now += 1

    def wait_ended(self, seconds: float) -> None:
        """It waits no more, be the model awake or not."""
        self._wait_seconds.observe(seconds)
        self._waking_now -= 1

    # --- this moment -------------------------------------------------------------------------

    def sampled(self, *, connections: int, requests: int, streams: int, queued: int) -> None:
        """So many there are now."""
        self._connections.set(connections)
        self._open.set(requests)
        self._streams.set(streams)
        self._queued.set(queued)
        self._waking.set(self._waking_now)

    def lagged(self, seconds: float) -> None:
        """The event loop came so late to what was due."""
        self._lag.observe(seconds)

    # --- labels ------------------------------------------------------------------------------

    def _find_series(self, route: str, model: str | None, *, answered: bool) -> _Series:
        label = self._labels.called(route, model, answered=answered)
        known = model if label in (model, NONE) else label  # any number of names lead to another
        series = self._series.get((route, known))
        if series is None:
            series = self._series[route, known] = _Series(
                label,
                {},
                self._durations.labels(route, label),
                self._first_bytes.labels(route, label),
            )
        return series

    def _find_tokens(self, counter: Counter, name: str) -> tuple[Counter, Counter]:
        label = self._labels.model(name) if counter is self._tokens else self._labels.key(name)
        kinds = counter.labels(label, "prompt"), counter.labels(label, "completion")
        if label == name:
            self._tokens_of[counter, name] = kinds
        return kinds


def use_files(shared: Path, column: int) -> Seen:
    """Have the ``Metrics`` that is made next count in the files of ``column``. Raises ``OSError``.

    ``column`` is nobody else's while this worker runs.
    """
    folder = metric_files.folder(shared)
    folder.mkdir(mode=0o700, exist_ok=True)
    metric_files.forget_live(shared, column)  # a supervisor of an older release has not
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = values.MultiProcessValue(lambda: column)  # type: ignore[no-untyped-call]
    return read_seen(folder)


def _ready(counter: Counter, reasons: object) -> dict[str, Counter]:
    """The counter by each of its reasons, so that all are there from the start."""
    return {reason: counter.labels(reason) for reason in get_args(reasons)}


def _status_class(hundreds: int) -> str:
    return f"{hundreds}xx"
