"""What happens is counted once, under its labels, and goes on where a column's files left it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from proxy.metric_files import MetricFiles, folder, forget_live
from proxy.metrics import Metrics

CHAT = "/v1/chat/completions"

Value = Callable[..., float | None]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(lambda model: model == "llama")


@pytest.fixture
def value(metrics: Metrics, value_of: Callable[[Metrics], Value]) -> Value:
    return value_of(metrics)


def test_a_request_by_route_model_and_status_and_by_key(metrics: Metrics, value: Value) -> None:
    for status in (200, 204, 404, 499, 502):
        metrics.request_ended(CHAT, "llama", "alice", status, 0.2, 0.1)
    call = {"route": CHAT, "model": "llama"}
    assert value("requests_total", status="2xx", **call) == 2
    assert value("requests_total", status="4xx", **call) == 2
    assert value("requests_total", status="5xx", **call) == 1
    assert value("key_requests_total", key="alice", status="2xx") == 2
    assert value("request_duration_seconds_sum", **call) == pytest.approx(1)
    assert value("request_duration_seconds_bucket", le="0.1", **call) == 0
    assert value("request_duration_seconds_bucket", le="0.25", **call) == 5
    assert value("time_to_first_byte_seconds_bucket", le="0.1", **call) == 5


def test_a_request_without_key_model_or_answer(metrics: Metrics, value: Value) -> None:
    metrics.request_ended("/healthz", None, None, 499, 0.2, None)
    call = {"route": "/healthz", "model": ""}
    assert value("requests_total", status="4xx", **call) == 1
    assert value("time_to_first_byte_seconds_count", **call) == 0


def test_names_of_no_model_are_counted_together(metrics: Metrics, value: Value) -> None:
    for number in range(5):
        metrics.request_ended(CHAT, f"guess-{number}", "alice", 404, 0.1, 0.1)
    assert value("requests_total", route=CHAT, model="unknown", status="4xx") == 5


def test_a_model_has_its_name_from_its_first_answer_on(metrics: Metrics, value: Value) -> None:
    for status in (503, 200, 503):
        metrics.request_ended(CHAT, "new", "alice", status, 0.1, 0.1)
    assert value("requests_total", route=CHAT, model="unknown", status="5xx") == 1
    assert value("requests_total", route=CHAT, model="new", status="2xx") == 1
    assert value("requests_total", route=CHAT, model="new", status="5xx") == 1


def test_durations_from_a_millisecond_to_a_quarter_of_an_hour(
    metrics: Metrics, value: Value
) -> None:
    metrics.request_ended(CHAT, "llama", "alice", 200, 0.0009, 0.0009)
    metrics.request_ended(CHAT, "llama", "alice", 200, 899, 0.0009)
    call = {"route": CHAT, "model": "llama"}
    assert value("request_duration_seconds_bucket", le="0.001", **call) == 1
    assert value("request_duration_seconds_bucket", le="300.0", **call) == 1
    assert value("request_duration_seconds_bucket", le="900.0", **call) == 2


def test_tokens(metrics: Metrics, value: Value) -> None:
    metrics.tokens_used("llama", "alice", 5, 7)
    metrics.tokens_used("llama", "bob", 1, 0)
    assert value("tokens_total", model="llama", kind="prompt") == 6
    assert value("tokens_total", model="llama", kind="completion") == 7
    assert value("key_tokens_total", key="alice", kind="completion") == 7
    assert value("key_tokens_total", key="bob", kind="prompt") == 1


def test_attempts_and_retries(metrics: Metrics, value: Value) -> None:
    metrics.attempted("invocations", 200)
    metrics.attempted("invocations", 201)
    metrics.attempted("invocations", "failed")
    metrics.retried("connection")
    assert value("upstream_requests_total", operation="invocations", status="2xx") == 2
    assert value("upstream_requests_total", operation="invocations", status="failed") == 1
    assert value("upstream_retries_total", reason="connection") == 1
    assert value("upstream_retries_total", reason="throttled") == 0


def test_waits_limits_and_this_moment(metrics: Metrics, value: Value) -> None:
    for _ in range(2):
        metrics.wait_began()
    assert (value("waking_waits_total"), value("waking_wait_seconds_count")) == (2, 0)
    metrics.wait_ended(42)
    assert value("waking_wait_seconds_sum") == 42
    metrics.limited("tokens")
    assert value("limited_total", reason="tokens") == 1
    metrics.sampled(connections=4, requests=3, streams=2, queued=1)
    names = ("connections", "requests_open", "streams_open", "queued", "waking")
    assert [value(name) for name in names] == [4, 3, 2, 1, 1]
    metrics.lagged(0.3)
    assert value("event_loop_lag_seconds_bucket", le="0.5") == 1


def work(shared: Path, column: int) -> Metrics:
    metrics = Metrics(files=MetricFiles(shared, column))
    metrics.request_ended(CHAT, "llama", "alice", 200, 0.2, 0.1)
    metrics.sampled(connections=1, requests=1, streams=0, queued=0)
    return metrics


def test_columns_add_up_and_a_later_worker_goes_on_in_its_own(
    tmp_path: Path, value_of: Callable[[Metrics], Value]
) -> None:
    for column in (0, 1, 0):
        metrics = work(tmp_path, column)
    call = {"route": CHAT, "model": "llama"}
    value = value_of(metrics)
    assert value("requests_total", status="2xx", **call) == 3
    assert value("request_duration_seconds_bucket", le="+Inf", **call) == 3
    assert value("connections") == 2  # those of the worker before have ended with it
    assert len(list(folder(tmp_path).iterdir())) == 8


def test_what_was_open_in_a_column_ends_with_its_worker(
    tmp_path: Path, value_of: Callable[[Metrics], Value]
) -> None:
    for column in (1, 11):
        metrics = work(tmp_path, column)
    forget_live(tmp_path, 1)
    forget_live(tmp_path, 2)  # of which there is nothing
    value = value_of(metrics)
    assert value("connections") == 1
    assert value("requests_total", route=CHAT, model="llama", status="2xx") == 2
