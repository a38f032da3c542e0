"""What is counted and timed, for Prometheus: made once a worker, with a method for each event.

Whoever counts says what has happened, and never a metric's name.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from proxy import metric_families as families
from proxy.labels import NONE, Labels, seen_in
from proxy.metric_families import Family
from proxy.metric_files import MetricFiles

LimitReason = Literal["requests", "tokens", "concurrency", "overload", "guesses"]
RetryReason = Literal["throttled", "connection", "credentials", "clock"]


@dataclass(slots=True)
class _Call:
    """Of one route and model: where its numbers begin."""

    model: str
    statuses: dict[int, int]
    duration: int
    first_byte: int


class Metrics:
    """In the worker's own memory, unless it is given files."""

    def __init__(
        self, knows: Callable[[str], bool] = lambda model: True, files: MetricFiles | None = None
    ) -> None:
        """``knows`` tells of a model's name whether it is known."""
        self.files = files or MetricFiles()
        self._labels = Labels(knows, seen_in(self.files.read()))
        # To count is to add to one of these, where each series has its place.
        self._totals = self.files.totals.numbers
        self._live = self.files.live.numbers
        place = self._place
        self._retries = _by_reason(families.RETRIES, RetryReason, place)
        self._limited = _by_reason(families.LIMITED, LimitReason, place)
        self._waits = place(families.WAITS)
        self._wait_seconds = place(families.WAIT_SECONDS)
        self._lag = place(families.LAG)
        self._connections = place(families.CONNECTIONS)
        self._open = place(families.REQUESTS_OPEN)
        self._streams = place(families.STREAMS_OPEN)
        self._queued = place(families.QUEUED)
        self._waking = place(families.WAKING)
        self._waking_now = 0
        self._calls: dict[tuple[str, str | None], _Call] = {}
        self._by_key: dict[tuple[str, int], int] = {}
        self._by_attempt: dict[tuple[str, str], int] = {}
        self._tokens: dict[str, tuple[int, int]] = {}
        self._key_tokens: dict[str, tuple[int, int]] = {}

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
        call = self._calls.get((route, model)) or self._find_call(
            route, model, answered=status < 400
        )
        status //= 100
        at = call.statuses.get(status)
        if at is None:
            labels = (route, call.model, _status_class(status))
            at = call.statuses[status] = self._place(families.REQUESTS, *labels)
        self._totals[at] += 1
        self._observe(families.DURATIONS, call.duration, seconds)
        if first_byte_seconds is not None:
            self._observe(families.FIRST_BYTES, call.first_byte, first_byte_seconds)
        if key is not None:
            at = self._by_key.get((key, status))
            if at is None:
                of_key = (self._labels.key(key), _status_class(status))
                at = self._by_key[key, status] = self._place(families.KEY_REQUESTS, *of_key)
            self._totals[at] += 1

    def tokens_used(self, model: str, key: str, prompt: int, completion: int) -> None:
        """An answer has told what it cost."""
        of_model = self._tokens.get(model)
        if of_model is None:
            label = self._labels.model(model)
            of_model = self._place_tokens(families.TOKENS, label)
            if label == model:
                self._tokens[model] = of_model
        of_key = self._key_tokens.get(key)
        if of_key is None:
            label = self._labels.key(key)
            of_key = self._key_tokens[key] = self._place_tokens(families.KEY_TOKENS, label)
        for prompts, completions in (of_model, of_key):
            self._totals[prompts] += prompt
            self._totals[completions] += completion

    def limited(self, by: LimitReason) -> None:
        """A request was refused by a limit."""
        self._totals[self._limited[by]] += 1

    # --- SageMaker ---------------------------------------------------------------------------

    def attempted(self, operation: str, outcome: int | Literal["failed"]) -> None:
        """SageMaker has answered with a status, or the way to it or back has failed."""
        status = outcome if isinstance(outcome, str) else _status_class(outcome // 100)
        at = self._by_attempt.get((operation, status))
        if at is None:
            at = self._place(families.UPSTREAM, operation, status)
            self._by_attempt[operation, status] = at
        self._totals[at] += 1

    def retried(self, reason: RetryReason) -> None:
        """An attempt is made once more."""
        self._totals[self._retries[reason]] += 1

    def wait_began(self) -> None:
        """A call waits for a model to wake."""
        self._totals[self._waits] += 1
        self._waking_now += 1

    def wait_ended(self, seconds: float) -> None:
        """It waits no more, be the model awake or not."""
        self._observe(families.WAIT_SECONDS, self._wait_seconds, seconds)
        self._waking_now -= 1

    # --- this moment -------------------------------------------------------------------------

    def sampled(self, *, connections: int, requests: int, streams: int, queued: int) -> None:
        """So many there are now."""
        self._live[self._connections] = connections
        self._live[self._open] = requests
        self._live[self._streams] = streams
        self._live[self._queued] = queued
        self._live[self._waking] = self._waking_now

    def lagged(self, seconds: float) -> None:
        """The event loop came so late to what was due."""
        self._observe(families.LAG, self._lag, seconds)

    # --- places ------------------------------------------------------------------------------

    def _place(self, family: Family, *labels: str) -> int:
        return self.files.of(family).place(family, *labels)

    def _place_tokens(self, family: Family, label: str) -> tuple[int, int]:
        return self._place(family, label, "prompt"), self._place(family, label, "completion")

    def _observe(self, family: Family, at: int, seconds: float) -> None:
        bounds, totals = family.bounds, self._totals
        totals[at + bisect_left(bounds, seconds)] += 1
        totals[at + len(bounds) + 1] += seconds

    def _find_call(self, route: str, model: str | None, *, answered: bool) -> _Call:
        label = self._labels.called(route, model, answered=answered)
        known = model if label in (model, NONE) else label  # any number of names lead to another
        call = self._calls.get((route, known))
        if call is None:
            call = self._calls[route, known] = _Call(
                label,
                {},
                self._place(families.DURATIONS, route, label),
                self._place(families.FIRST_BYTES, route, label),
            )
        return call


def _by_reason(
    family: Family, reasons: object, place: Callable[[Family, str], int]
) -> dict[str, int]:
    """Each of its reasons has a place from the start, so that all are told of."""
    return {reason: place(family, reason) for reason in get_args(reasons)}


def _status_class(hundreds: int) -> str:
    return f"{hundreds}xx"
