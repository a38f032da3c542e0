"""What spans say of what has come to pass, as a collector reads it."""

from collections.abc import AsyncIterator

import pytest

from proxy.errors import DeadlineExceeded, ProxyError, Refusal, UpstreamFailed
from proxy.traceparent import Traceparent
from proxy.traces import Traces
from tests.integration.collector import ERROR, UNSET, Collector, Span

URL = "https://runtime.sagemaker.us-east-1.amazonaws.com/endpoints/llama/invocations"


class Told:
    """Traces, and the collector that they are sent to at their end."""

    def __init__(self, collector: Collector) -> None:
        self.traces = Traces(collector.url, 1.0)
        self._collector = collector

    async def spans(self) -> list[Span]:
        await self.traces.close()
        return self._collector.spans()


@pytest.fixture
async def told() -> AsyncIterator[Told]:
    with Collector() as collector:
        yield Told(collector.listen())


@pytest.mark.parametrize(
    ("status", "details", "error", "of_the_server"),
    [
        (200, {}, None, UNSET),
        (404, {"error": "model_not_found"}, None, UNSET),
        (502, {"error": "upstream_error"}, "upstream_error", ERROR),
        (200, {"error": "upstream_error"}, "upstream_error", ERROR),  # in a stream
        (499, {"client_gone": True}, "client_gone", UNSET),
    ],
)
async def test_how_a_request_has_ended(
    told: Told, status: int, details: dict[str, object], error: str | None, of_the_server: str
) -> None:
    told.traces.request("POST", "https", "/predict", None).end(status, "llama", "alice", details)
    (span,) = await told.spans()
    assert span.attributes["http.response.status_code"] == status
    assert (span.attributes.get("error.type"), span.status) == (error, of_the_server)


@pytest.mark.parametrize(
    ("error", "kind", "status", "of_the_call"),
    [
        (None, None, 200, UNSET),
        (UpstreamFailed("gone"), "upstream_error", 200, ERROR),
        (DeadlineExceeded("late"), "timeout", 200, ERROR),
        (ProxyError("no", refusal=Refusal(424, "ModelError", b"")), "ModelError", 424, ERROR),
        (ProxyError("no", refusal=Refusal(503, "", b"")), "503", 503, ERROR),
        (StopAsyncIteration(), "StopAsyncIteration", 200, UNSET),
    ],
)
async def test_how_a_call_has_ended(
    told: Told, error: BaseException | None, kind: str | None, status: int, of_the_call: str
) -> None:
    call = told.traces.call("invocations", URL, 0)
    call.answered(200)
    call.end(error)
    (span,) = await told.spans()
    assert (span.attributes.get("error.type"), span.status) == (kind, of_the_call)
    assert span.attributes["http.response.status_code"] == status
    assert span.attributes["server.port"] == 443


async def test_no_text_is_too_long_or_cannot_be_written(told: Told) -> None:
    told.traces.request("GET", "https", "/", None).end(200, "m" * 1000, None, {})
    call = told.traces.call("invocations", URL, 0)
    call.end(ProxyError("no", refusal=Refusal(400, "\udce9", b"")))
    request, refused = await told.spans()
    assert request.attributes["gen_ai.request.model"] == "m" * 128
    assert refused.attributes["error.type"] == "?"


async def test_a_method_of_the_clients_own_makes_no_name(told: Told) -> None:
    told.traces.request("X" * 20, "https", None, None).end(405, None, None, {})
    (span,) = await told.spans()
    assert (span.name, span.attributes["http.request.method"]) == ("HTTP", "_OTHER")


async def test_a_call_is_a_part_of_the_request_that_its_task_has_entered(told: Told) -> None:
    parent = Traceparent("a" * 32, "b" * 16, 1)
    request = told.traces.request("POST", "https", "/predict", parent)
    told.traces.call("invocations", URL, 0).end(None)
    request.enter()
    told.traces.call("invocations", URL, 0).end(None)
    request.end(200, None, None, {})
    # One that begins meanwhile, as on the same connection, is a part of none.
    told.traces.request("GET", "https", "/", None).end(200, None, None, {})
    entered, alone, inside, other = await told.spans()
    assert (entered.trace_id, entered.parent_id) == (parent.trace_id, parent.parent_id)
    assert (alone.parent_id, other.parent_id) == ("", "")
    assert (inside.trace_id, inside.parent_id) == (entered.trace_id, entered.span_id)


async def test_what_is_not_sampled_has_an_id_all_the_same(told: Told) -> None:
    request = told.traces.request("GET", "https", "/", Traceparent("a" * 32, "b" * 16, 0))
    assert request.trace_id == "a" * 32
    request.enter()
    told.traces.call("invocations", URL, 0).end(None)
    request.end(200, None, None, {})
    assert await told.spans() == []
