"""Streams: events whole and at once, slow readers held back, leavers noticed."""

import contextlib
import itertools
import json
import shutil
import socket
import statistics
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from aiohttp import web

from tests.emulator.containers import chat
from tests.emulator.emulator import Emulator
from tests.integration.conftest import QUICK
from tests.integration.raw import RawClient
from tests.integration.running import RunningProxy

FLOOD_EVENT = b"data: " + b"x" * 65_000 + b"\n\n"
FLOOD_EVENTS = 1000
FLOOD_END = b"data: [DONE]\n\n"


class Flood:
    """A container that streams more than anybody reads, and counts what it got rid of."""

    def __init__(self) -> None:
        self.written = 0

    async def invocations(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        self.written = 0
        for _ in range(FLOOD_EVENTS):
            await response.write(FLOOD_EVENT)
            self.written += len(FLOOD_EVENT)
        await response.write(FLOOD_END)
        return response

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_post("/invocations", self.invocations)
        return application


@pytest.fixture(scope="module")
def flood(emulator: Emulator) -> Flood:
    flood = Flood()
    emulator.add_endpoint("flood", flood.application())
    return flood


@pytest.fixture(scope="module", autouse=True)
def models(emulator: Emulator) -> None:
    emulator.add_endpoint("snail", chat.application(("snail",), token_delay=0.2))


def body(model: str, **more: object) -> bytes:
    messages = [{"role": "user", "content": "héllo 世界 🌍"}]
    return json.dumps({"model": model, "messages": messages, "stream": True, **more}).encode()


def begin(
    raw: RawClient, proxy: RunningProxy, model: str, **headers: str
) -> tuple[int, dict[str, str]]:
    """Send a streamed chat; its status and headers, once they are here."""
    sent = body(model)
    raw.send(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Bearer {proxy.key}\r\nContent-Length: {len(sent)}\r\n"
        + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        + "\r\n"
    )
    raw.send(sent)
    return raw.read_head()


def test_each_piece_that_arrives_is_whole_events(proxy: RunningProxy) -> None:
    with RawClient(proxy) as raw:
        status, headers = begin(raw, proxy, "slow-chat")
        assert status == 200
        assert headers["content-type"] == "text/event-stream; charset=utf-8"
        assert headers["cache-control"] == "no-cache"
        pieces = []
        while piece := raw.read_chunk():
            pieces.append(piece)
    assert len(pieces) > 10, "events are sent as they come, not at the end"
    for piece in pieces:
        assert piece.startswith(b"data: ")
        assert piece.endswith(b"\n\n")
        piece.decode()  # no character is cut
    assert pieces[-1].endswith(b"data: [DONE]\n\n")


def test_an_event_arrives_before_the_next_is_made(proxy: RunningProxy) -> None:
    with RawClient(proxy) as raw:
        begin(raw, proxy, "snail")
        arrivals = []
        for _ in range(4):
            raw.read_chunk()
            arrivals.append(time.monotonic())
    # 200 ms a token at the container.
    gaps = [later - earlier for earlier, later in itertools.pairwise(arrivals)]
    assert max(gaps[1:]) > 0.1, "they came at once"


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl here")
def test_curl_reads_the_events(proxy: RunningProxy) -> None:
    command = ["curl", "-sSN", "--cacert", str(proxy.certificate)]
    command += ["-H", f"Authorization: Bearer {proxy.key}", "-d", body("demo-chat").decode()]
    done = subprocess.run(
        [*command, f"{proxy.url}/v1/chat/completions"], capture_output=True, check=True
    )
    events = done.stdout.decode().removesuffix("\n\n").split("\n\n")
    assert events[-1] == "data: [DONE]"
    chunks = [json.loads(event.removeprefix("data: ")) for event in events[:-1]]
    text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
    assert "héllo 世界 🌍" in text


def test_usage_in_a_stream_reaches_the_log(session: requests.Session, proxy: RunningProxy) -> None:
    answer = session.post(
        f"{proxy.url}/v1/chat/completions",
        data=body("demo-chat", stream_options={"include_usage": True}),
    )
    entry = proxy.wait_for_request(answer.headers["X-Request-Id"])
    assert entry["completion_tokens"] > 5
    assert entry["first_byte_milliseconds"] <= entry["milliseconds"]


class TestLeavers:
    def test_a_client_that_leaves_ends_the_upstream_call_at_once(
        self, proxy: RunningProxy, emulator: Emulator
    ) -> None:
        request_id = uuid.uuid4().hex
        with RawClient(proxy) as raw:
            begin(raw, proxy, "snail", **{"X-Request-Id": request_id})
            raw.read_chunk()
            left = time.monotonic()
        noticed = emulator.wait_for_disconnect("snail", timeout=5)
        assert noticed - left < 2
        entry = proxy.wait_for_request(request_id)
        assert entry["client_gone"] is True

    def test_those_who_leave_a_fast_stream_are_no_errors(
        self, proxy: RunningProxy, flood: Flood
    ) -> None:
        ids = [uuid.uuid4().hex for _ in range(20)]
        for request_id in ids:
            with RawClient(proxy) as raw:
                begin(raw, proxy, "flood", **{"X-Request-Id": request_id})
                raw.read_chunk()
        for request_id in ids:
            entry = proxy.wait_for_request(request_id)
            assert entry["client_gone"] is True
            assert "error" not in entry
        assert not [line for line in proxy.log if "unforeseen" in line]

    def test_so_does_one_that_leaves_before_the_first_byte(
        self, proxy: RunningProxy, emulator: Emulator
    ) -> None:
        emulator.set_fault("demo-chat", "slow_first_byte", seconds=30)
        before = len(emulator.calls("demo-chat"))
        request_id = uuid.uuid4().hex
        with RawClient(proxy) as raw:
            sent = body("demo-chat")
            raw.send(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\n"
                f"X-API-Key: {proxy.key}\r\nX-Request-Id: {request_id}\r\n"
                f"Content-Length: {len(sent)}\r\n\r\n"
            )
            raw.send(sent)
            deadline = time.monotonic() + 10
            while len(emulator.calls("demo-chat")) == before:
                assert time.monotonic() < deadline, "the call never reached SageMaker"
            left = time.monotonic()
        assert emulator.wait_for_disconnect("demo-chat", timeout=5) - left < 2
        assert proxy.wait_for_request(request_id)["status"] == 499


def test_a_client_that_does_not_read_holds_the_model_back(
    proxy: RunningProxy, emulator: Emulator, flood: Flood
) -> None:
    before = proxy.resident_bytes()
    with RawClient(proxy) as raw, RawClient(proxy) as other:
        raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        begin(raw, proxy, "flood")
        raw.read_chunk()
        written = -1
        while written != flood.written:
            written = flood.written
            for _ in range(500):  # others are answered meanwhile
                assert other.request("GET", "/healthz", {}).status == 200
        # What the kernel's buffers on the way hold, and no more.
        assert written < FLOOD_EVENTS * len(FLOOD_EVENT) / 2
        assert proxy.resident_bytes() - before < 10 * 1024 * 1024
    emulator.wait_for_disconnect("flood", timeout=5)


def test_one_that_reads_gets_it_all(proxy: RunningProxy, flood: Flood) -> None:
    with RawClient(proxy) as raw:
        begin(raw, proxy, "flood")
        received = 0
        while chunk := raw.read_chunk():
            received += len(chunk)
    assert received == FLOOD_EVENTS * len(FLOOD_EVENT) + len(FLOOD_END)


class HangingControlPlane:
    """Takes connections, and never says a word."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._taken: list[socket.socket] = []
        self.asked = threading.Event()
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _accept(self) -> None:
        while True:
            try:
                self._taken.append(self._listener.accept()[0])
            except OSError:
                return
            self.asked.set()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for connection in self._taken:
            connection.close()


@pytest.fixture
def hanging_control_plane() -> Iterator[HangingControlPlane]:
    control_plane = HangingControlPlane()
    yield control_plane
    control_plane.close()


def median_health_seconds(proxy: RunningProxy) -> float:
    with RawClient(proxy) as raw:
        times = []
        for _ in range(100):
            began = time.monotonic()
            assert raw.request("GET", "/healthz", {}).status == 200
            times.append(time.monotonic() - began)
    return statistics.median(times)


def test_slow_streams_and_a_hanging_control_plane_do_not_hold_up_others(
    emulator: Emulator,
    hanging_control_plane: HangingControlPlane,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    environ = emulator.environment() | {"AWS_ENDPOINT_URL_SAGEMAKER": hanging_control_plane.url}
    directory = tmp_path_factory.mktemp("proxy")
    with RunningProxy(directory, environ, QUICK) as proxy:
        assert hanging_control_plane.asked.wait(10)
        idle = median_health_seconds(proxy)
        with contextlib.ExitStack() as stack, ThreadPoolExecutor(50) as pool:
            clients = [stack.enter_context(RawClient(proxy)) for _ in range(200)]
            # There is no catalogue, so SageMaker itself says whether there is such a model.
            statuses = list(pool.map(lambda raw: begin(raw, proxy, "snail")[0], clients))
            assert statuses == [200] * 200
            busy = median_health_seconds(proxy)
        # What this costs is milliseconds; a loop that waits for a thread or a stream, seconds.
        assert busy < 50 * idle + 0.05
        with RawClient(proxy) as raw:
            ready = raw.request("GET", "/readyz", {})
            assert ready.status == 503
            assert "listed" in str(ready.json()["reasons"])
            assert raw.request("GET", "/v1/models", proxy.headers).status == 503
        began = time.monotonic()
        assert proxy.stop() == 0
        assert time.monotonic() - began < 5, "the exit waited for the control plane"
