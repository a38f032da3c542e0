import json

import pytest

from tests.benchmark import http, load, special
from tests.benchmark.programs import Failed

LINE = {
    "seconds": 2.0,
    "cpu_seconds": 1.5,
    "protocol": "TLSv1.3 TLS_AES_256_GCM_SHA384",
    "answers": 100,
    "chunks": 0,
    "streams": 0,
    "open_streams": 0,
    "refused": 1,
    "broken": 2,
    "unanswered": 0,
    "handshakes": 0,
    "bytes": 60000,
    "statuses": {"200": 99, "500": 1},
    "latency": {"count": 100, "mean": 150.0, "percentiles": {"50": 100, "99.9": 900}},
    "first_chunk": {"count": 0},
    "delay": {"count": 0},
    "gap": {"count": 0},
}

METRICS = """\
# TYPE sagemaker_proxy_event_loop_lag_seconds histogram
sagemaker_proxy_event_loop_lag_seconds_bucket{le="0.001"} 50.0
sagemaker_proxy_event_loop_lag_seconds_bucket{le="0.0025"} 90.0
sagemaker_proxy_event_loop_lag_seconds_bucket{le="+Inf"} 100.0
"""


def test_what_the_generator_tells_is_read() -> None:
    told = load.parse(json.dumps(LINE), gateway_cpu=1.9, upstream_cpu=0.3)
    assert told.errors == 3
    assert told.latency.at(99.9) == 900
    with pytest.raises(Failed):
        told.delay.at(50)


def test_a_request_is_whole() -> None:
    body = http.chat("answer-600", stream=True)
    data = http.request("/v1/chat/completions", body, {"Authorization": "Bearer key"})
    head, _, rest = data.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\n")
    assert f"Content-Length: {len(rest)}".encode() in head
    assert json.loads(rest)["stream"] is True


def test_a_quantile_lies_in_its_bucket() -> None:
    counts = special.lag_buckets(METRICS)
    assert counts == {0.001: 50, 0.0025: 90, float("inf"): 100}
    assert special.quantile(counts, 0.25) == pytest.approx(0.0005)
    assert special.quantile(counts, 0.7) == pytest.approx(0.00175)
    assert special.quantile(counts, 0.99) == 0.0025  # it is more, but nobody knows how much
    with pytest.raises(Failed):
        special.quantile({}, 0.5)
