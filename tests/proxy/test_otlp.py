"""What the collector's trouble looks like in the log: once, and with nothing secret."""

import logging

import pytest
from opentelemetry.sdk.trace import TracerProvider

from proxy.otlp import Collector
from tests.integration import collector

SECRET = "not-to-be-shown"


def fields(caplog: pytest.LogCaptureFixture) -> list[dict[str, object]]:
    return [getattr(record, "fields", {}) for record in caplog.records]


def test_what_opentelemetry_says_is_passed_on_once_without_what_it_quotes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with collector.Collector() as receiver:
        Collector(receiver.url)
        theirs = logging.getLogger("opentelemetry.sdk.trace")
        for number in range(3):
            theirs.warning("It is about %s", f"{SECRET} {number}")
        logging.getLogger("opentelemetry.exporter.any").error("Failed: %s", SECRET)
    assert fields(caplog) == [{"source": "opentelemetry.sdk.trace", "reason": "It is about %s"}]
    assert SECRET not in caplog.text


def test_a_full_queue_loses_the_oldest_and_never_waits(caplog: pytest.LogCaptureFixture) -> None:
    with collector.Collector() as receiver:
        receiver.answers.clear()
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(Collector(receiver.listen().url).batches())
        tracer = provider.get_tracer("test")
        for number in range(5000):
            tracer.start_span(f"span {number}").end()
        receiver.answers.set()
        provider.shutdown()
        names = {span.name for span in receiver.spans()}
    assert 2048 <= len(names) < 5000
    assert "span 4999" in names
    assert [each["reason"] for each in fields(caplog)] == ["Queue full, dropping %s."]


@pytest.mark.parametrize(("status", "is_away"), [(200, False), (302, True), (400, True)])
def test_only_an_answer_that_takes_them_is_success(
    caplog: pytest.LogCaptureFixture, status: int, is_away: bool
) -> None:
    with collector.Collector() as receiver:
        receiver.status = status
        url = receiver.listen().url.replace("://", f"://someone:{SECRET}@")
        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(Collector(f"{url}/{SECRET}").batches())
        provider.get_tracer("test").start_span("span").end()
        provider.shutdown()
    named = {"collector": f"127.0.0.1:{receiver.port}", "reason": f"status {status}"}
    assert fields(caplog) == ([named] if is_away else [])
    assert SECRET not in caplog.text
