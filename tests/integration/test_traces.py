"""The traces that a collector gets: what is in them, and that nobody waits for it."""

import json
import signal
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from proxy import __version__
from proxy.keys import hash_key
from tests.emulator.emulator import Emulator
from tests.integration.collector import CLIENT, ERROR, SERVER, UNSET, Collector
from tests.integration.conftest import QUICK
from tests.integration.running import RunningProxy, worker_ready

CHAT = "/v1/chat/completions"
PARENT = "b7ad6b7169203331"
SECRET = "not-to-be-shown"
SAID = "what the client has said"
USER = {"role": "user", "content": SAID}


def settings(url: str, ratio: float = 1.0) -> str:
    return f'{QUICK}[traces]\notlp_endpoint = "{url}"\nsample_ratio = {ratio}\n'


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector.listen()


@pytest.fixture(scope="module")
def alice() -> str:
    return str(uuid.uuid4())


@pytest.fixture(scope="module")
def proxy(
    emulator: Emulator,
    collector: Collector,
    alice: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningProxy]:
    directory = tmp_path_factory.mktemp("proxy")
    (directory / "keys.toml").write_text(f'[keys.alice]\nsha256 = "{hash_key(alice)}"\n')
    url = collector.url.replace("://", f"://someone:{SECRET}@") + "/"
    # None of this is to be heeded: nobody is there, and the password is another's.
    (directory / ".netrc").write_text("machine 127.0.0.1 login other password other\n")
    (directory / ".netrc").chmod(0o600)
    environ = {**emulator.environment(), "HTTP_PROXY": "http://127.0.0.1:1"}
    environ["OTEL_EXPORTER_OTLP_HEADERS"] = "x-of-the-operator=there"
    with RunningProxy(directory, environ, settings(url)) as proxy:
        yield proxy


def post(
    proxy: RunningProxy,
    path: str = CHAT,
    *,
    key: str = "",
    flags: str = "01",
    **fields: object,
) -> tuple[requests.Response, str]:
    """The answer, and the trace that the request was a part of."""
    trace_id = uuid.uuid4().hex
    body = {"model": "demo-chat", "messages": [USER], **fields}
    with proxy.session() as session:
        if key:
            session.headers["Authorization"] = f"Bearer {key}"
        session.headers["Traceparent"] = f"00-{trace_id}-{PARENT}-{flags}"
        answer = session.post(f"{proxy.url}{path}", json=body, timeout=60)
    return answer, trace_id


class TestARequest:
    def test_it_is_a_part_of_the_clients_trace_and_its_call_is_a_part_of_it(
        self, proxy: RunningProxy, collector: Collector, emulator: Emulator, alice: str
    ) -> None:
        answer, trace_id = post(proxy, key=alice)
        usage = answer.json()["usage"]
        server, (call,) = collector.wait_for_request(trace_id)
        assert (server.parent_id, call.parent_id) == (PARENT, server.span_id)
        assert (server.name, server.status) == (f"POST {CHAT}", UNSET)
        assert server.attributes == {
            "http.request.method": "POST",
            "http.route": CHAT,
            "http.response.status_code": 200,
            "url.scheme": "https",
            "enduser.id": "alice",
            "gen_ai.request.model": "demo-chat",
            "gen_ai.usage.input_tokens": usage["prompt_tokens"],
            "gen_ai.usage.output_tokens": usage["completion_tokens"],
        }
        host, _, port = emulator.runtime_url.partition("://")[2].partition(":")
        assert (call.name, call.status) == ("POST /endpoints/{name}/invocations", UNSET)
        assert call.attributes == {
            "http.request.method": "POST",
            "http.response.status_code": 200,
            "url.full": f"{emulator.runtime_url}/endpoints/demo-chat/invocations",
            "url.template": "/endpoints/{name}/invocations",
            "server.address": host,
            "server.port": int(port),
        }
        assert server.began <= call.began < call.ended <= server.ended
        entry = proxy.wait_for_request(answer.headers["X-Request-Id"])
        assert entry["trace_id"] == trace_id

    def test_the_service_is_named(self, proxy: RunningProxy, collector: Collector) -> None:
        server, _ = collector.wait_for_request(post(proxy)[1])
        assert server.resource["service.name"] == "sagemaker-proxy"
        assert server.resource["service.version"] == __version__
        assert uuid.UUID(server.resource["service.instance.id"]).version == 4

    def test_without_a_trace_it_begins_one_that_the_log_has(
        self, proxy: RunningProxy, collector: Collector, session: requests.Session
    ) -> None:
        # On one connection, and still each of its own.
        answers = [session.get(f"{proxy.url}/v1/models") for _ in range(2)]
        entries = [proxy.wait_for_request(each.headers["X-Request-Id"]) for each in answers]
        assert len({entry["trace_id"] for entry in entries}) == 2
        for entry in entries:
            server, calls = collector.wait_for_request(entry["trace_id"])
            assert (server.parent_id, server.name, calls) == ("", "GET /v1/models", [])

    def test_one_that_the_client_does_not_sample_is_not_recorded(
        self, proxy: RunningProxy, collector: Collector
    ) -> None:
        answer, unsampled = post(proxy, flags="00")
        entry = proxy.wait_for_request(answer.headers["X-Request-Id"])
        assert entry["trace_id"] == unsampled
        collector.wait_for_request(post(proxy)[1])  # which comes later
        assert collector.spans(unsampled) == []

    def test_nothing_of_it_goes_to_sagemaker(self, proxy: RunningProxy, emulator: Emulator) -> None:
        post(proxy)
        headers = {name.lower() for name in emulator.calls("demo-chat")[-1].headers}
        assert not headers & {"traceparent", "tracestate", "baggage"}

    @pytest.mark.parametrize("path", ["/no/such/path", "/healthz"])
    def test_its_route_is_named_if_there_is_one(
        self, proxy: RunningProxy, collector: Collector, session: requests.Session, path: str
    ) -> None:
        trace_id = uuid.uuid4().hex
        session.headers["Traceparent"] = f"00-{trace_id}-{PARENT}-01"
        session.get(f"{proxy.url}{path}")
        server, _ = collector.wait_for_request(trace_id)
        route = path if path == "/healthz" else None
        assert server.attributes.get("http.route") == route
        assert server.name == (f"GET {route}" if route else "GET")
        assert (server.status, "error.type" in server.attributes) == (UNSET, False)


class TestCalls:
    def test_each_attempt_is_one(
        self, proxy: RunningProxy, collector: Collector, emulator: Emulator
    ) -> None:
        emulator.set_fault("demo-chat", "throttled")
        server, (first, second) = collector.wait_for_request(post(proxy)[1])
        assert first.attributes["http.response.status_code"] == 400
        assert first.attributes["error.type"] == "ThrottlingException"
        assert (first.status, "http.request.resend_count" in first.attributes) == (ERROR, False)
        assert second.attributes["http.response.status_code"] == 200
        assert second.attributes["http.request.resend_count"] == 1
        assert (second.status, server.status) == (UNSET, UNSET)
        assert first.ended <= second.began
        assert {first.parent_id, second.parent_id} == {server.span_id}

    def test_so_is_each_poke_of_a_model_that_sleeps(
        self, proxy: RunningProxy, collector: Collector, emulator: Emulator
    ) -> None:
        emulator.set_fault("demo-chat", "no_capacity", times=2)
        server, calls = collector.wait_for_request(post(proxy)[1])
        statuses = [call.attributes["http.response.status_code"] for call in calls]
        assert statuses == [400, 400, 200]
        assert {call.parent_id for call in calls} == {server.span_id}

    def test_what_fails_has_its_reason(
        self, proxy: RunningProxy, collector: Collector, emulator: Emulator
    ) -> None:
        emulator.set_fault("demo-chat", "drop_before_answer")
        answer, trace_id = post(proxy)
        assert answer.status_code == 502
        server, (call,) = collector.wait_for_request(trace_id)
        for span in (server, call):
            assert (span.status, span.attributes["error.type"]) == (ERROR, "upstream_error")
        assert server.attributes["http.response.status_code"] == 502
        assert "http.response.status_code" not in call.attributes

    def test_what_the_client_has_done_wrong_is_no_error_of_the_server(
        self, proxy: RunningProxy, collector: Collector
    ) -> None:
        answer, trace_id = post(proxy, key=str(uuid.uuid4()))
        assert answer.status_code == 401
        server, calls = collector.wait_for_request(trace_id)
        assert server.attributes == {
            "http.request.method": "POST",
            "http.route": CHAT,
            "http.response.status_code": 401,
            "url.scheme": "https",
        }
        assert (server.status, calls) == (UNSET, [])


class TestStreams:
    def test_it_ends_with_the_stream_and_has_its_tokens(
        self, proxy: RunningProxy, collector: Collector
    ) -> None:
        include = {"include_usage": True}
        answer, trace_id = post(proxy, model="slow-chat", stream=True, stream_options=include)
        events = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
        usage = json.loads(events[-2])["usage"]
        server, (call,) = collector.wait_for_request(trace_id)
        assert server.attributes["gen_ai.usage.input_tokens"] == usage["prompt_tokens"]
        assert server.attributes["gen_ai.usage.output_tokens"] == usage["completion_tokens"]
        assert call.attributes["url.template"].endswith("-response-stream")
        # Between two of its tokens is a fiftieth of a second.
        at_least = 0.02 * (usage["completion_tokens"] - 1)
        assert at_least <= call.ended - call.began <= server.ended - server.began

    def test_one_that_breaks_off_is_an_error(
        self, proxy: RunningProxy, collector: Collector, emulator: Emulator
    ) -> None:
        emulator.set_fault("slow-chat", "stream_internal_failure", after=20)
        answer, trace_id = post(proxy, model="slow-chat", stream=True)
        assert (answer.status_code, "data: [DONE]" in answer.text) == (200, False)
        server, (call,) = collector.wait_for_request(trace_id)
        assert (server.status, call.status) == (ERROR, ERROR)
        assert server.attributes["http.response.status_code"] == 200
        assert server.attributes["error.type"] == "upstream_error"

    def test_one_whose_client_leaves_ends_then(
        self, proxy: RunningProxy, collector: Collector
    ) -> None:
        trace_id = uuid.uuid4().hex
        body = {"model": "slow-chat", "messages": [USER], "stream": True}
        with proxy.session() as session:
            session.headers["Traceparent"] = f"00-{trace_id}-{PARENT}-01"
            stream = session.post(f"{proxy.url}{CHAT}", json=body, stream=True)
            next(stream.iter_content(1))
            stream.close()
        server, (call,) = collector.wait_for_request(trace_id)
        assert (server.status, server.attributes["error.type"]) == (UNSET, "client_gone")
        assert (call.status, call.attributes["error.type"]) == (UNSET, "CancelledError")


def test_nothing_secret_and_nothing_said_is_in_them(
    proxy: RunningProxy, collector: Collector, alice: str
) -> None:
    collector.wait_for_request(post(proxy, key=alice)[1])
    collector.wait_for_request(post(proxy, stream=True)[1])
    sent = b"".join(collector.bodies)
    for secret in (SAID, SECRET, alice, proxy.key, "aws4_request", "Bearer"):
        assert secret.encode() not in sent
    assert not [line for line in proxy.log if SECRET in line]


def test_the_collector_is_asked_as_configured_and_as_the_environment_of_opentelemetry_says(
    proxy: RunningProxy, collector: Collector
) -> None:
    collector.wait_for_request(post(proxy)[1])
    assert set(collector.paths) == {"/v1/traces"}
    headers = {name.lower(): value for name, value in collector.headers[-1].items()}
    assert headers["authorization"].startswith("Basic ")
    assert headers["x-of-the-operator"] == "there"


def test_of_those_without_a_trace_a_share_is_recorded(emulator: Emulator, tmp_path: Path) -> None:
    with (
        Collector() as collector,
        RunningProxy(tmp_path, emulator.environment(), settings(collector.url, 0)) as proxy,
        proxy.session() as session,
    ):
        collector.listen()
        answer = session.get(f"{proxy.url}/healthz")
        entry = proxy.wait_for_request(answer.headers["X-Request-Id"])
        sampled = post(proxy)[1]
        assert proxy.stop() == 0
        assert {span.trace_id for span in collector.spans()} == {sampled}
        assert len(entry["trace_id"]) == 32


class TestTheCollectorIsAway:
    def lines(self, proxy: RunningProxy, message: str) -> list[dict[str, Any]]:
        entries = [json.loads(line) for line in proxy.log if message in line]
        return [entry for entry in entries if message in entry["message"]]

    @pytest.mark.parametrize("away", ["refuses", "hangs", "fails", "redirects"])
    def test_requests_go_on_it_is_said_once_and_nothing_waits(
        self, emulator: Emulator, tmp_path: Path, away: str
    ) -> None:
        with Collector() as collector:
            if away != "refuses":
                collector.listen()
            if away == "hangs":
                collector.answers.clear()
            collector.status = {"fails": 503, "redirects": 302}.get(away, 200)
            url = collector.url.replace("://", f"://someone:{SECRET}@") + f"/{SECRET}"
            with RunningProxy(tmp_path, emulator.environment(), settings(url)) as proxy:
                slowest = 0.0
                for _ in range(30):
                    began = time.monotonic()
                    assert post(proxy)[0].status_code == 200
                    slowest = max(slowest, time.monotonic() - began)
                proxy.wait_for_log(lambda entry: "cannot be sent" in entry["message"], 20)
                for _ in range(10):
                    assert post(proxy)[0].status_code == 200
                began = time.monotonic()
                assert proxy.stop() == 0
                assert time.monotonic() - began < 6
                assert slowest < 2
                (line,) = self.lines(proxy, "cannot be sent")
                assert line["collector"] == f"127.0.0.1:{collector.port}"
                reasons = {"fails": "status 503", "redirects": "status 302"}
                assert line["reason"] == reasons.get(away, line["reason"])
                assert not [each for each in proxy.log if SECRET in each]
                assert not [each for each in proxy.log if "opentelemetry" in each.lower()]

    def test_when_it_is_back_it_gets_them_and_that_is_said_too(
        self, emulator: Emulator, tmp_path: Path
    ) -> None:
        with (
            Collector() as collector,
            RunningProxy(tmp_path, emulator.environment(), settings(collector.url)) as proxy,
        ):
            post(proxy)
            proxy.wait_for_log(lambda entry: "cannot be sent" in entry["message"], 20)
            collector.listen()
            collector.wait_for_request(post(proxy)[1])
            proxy.wait_for_log(lambda entry: "sent again" in entry["message"])

    def test_at_the_end_what_was_not_sent_is_said(self, emulator: Emulator, tmp_path: Path) -> None:
        with Collector() as collector:
            collector.listen()
            collector.answers.clear()
            with RunningProxy(tmp_path, emulator.environment(), settings(collector.url)) as proxy:
                post(proxy)
                assert proxy.stop() == 0
                (line,) = self.lines(proxy, "cannot be sent")
                assert line["reason"] == "there is no more time"


class TestWorkers:
    def test_each_has_its_own_and_sends_the_last_ones_at_its_end(
        self, emulator: Emulator, tmp_path: Path
    ) -> None:
        with (
            Collector() as collector,
            RunningProxy(
                tmp_path, emulator.environment(), settings(collector.url), workers=2
            ) as proxy,
        ):
            collector.listen()
            pids: set[int] = set()
            traces = set()
            deadline = time.monotonic() + 30
            while len(pids) < 2:
                assert time.monotonic() < deadline
                answer, trace_id = post(proxy)
                traces.add(trace_id)
                pids.add(proxy.wait_for_request(answer.headers["X-Request-Id"])["pid"])
            proxy.process.send_signal(signal.SIGHUP)
            for _ in range(2):
                proxy.wait_for_log(worker_ready, 30)
            for _ in range(2):
                proxy.wait_for_log(lambda entry: entry["message"] == "stopped", 30)
            collector.wait_for(
                lambda spans: {span.trace_id for span in spans if span.kind == SERVER} >= traces
            )
            instances = {span.resource["service.instance.id"] for span in collector.spans()}
            assert len(instances) == 2
            with ThreadPoolExecutor(4) as pool:
                traces = {trace_id for _, trace_id in pool.map(lambda _: post(proxy), range(40))}
            assert proxy.stop() == 0
            # Without a pause of the batches: at the worker's end.
            for kind in (SERVER, CLIENT):
                sent = {span.trace_id for span in collector.spans() if span.kind == kind}
                assert traces - sent == set()


@pytest.mark.parametrize("configured", [False, True])
def test_a_worker_imports_opentelemetry_only_for_traces(
    emulator: Emulator, tmp_path: Path, configured: bool
) -> None:
    environ = {**emulator.environment(), "PYTHONPROFILEIMPORTTIME": "1"}
    with Collector() as collector:
        collector.listen()
        config = settings(collector.url) if configured else QUICK
        with RunningProxy(tmp_path, environ, config) as proxy:
            for path in (CHAT, "/predict"):
                assert post(proxy, path)[0].status_code == 200
                assert post(proxy, path, stream=True)[0].status_code == 200
            assert proxy.stop() == 0
            imported = [line for line in proxy.log if line.startswith("import time:")]
    assert [line for line in imported if line.endswith(" proxy.sagemaker")]
    packages = {line.split()[-1].partition(".")[0] for line in imported}
    for package in ("opentelemetry", "google", "requests"):
        assert (package in packages) is configured
