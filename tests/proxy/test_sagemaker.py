"""Calls to SageMaker: where they go, whom they trust, and what of the transport shows."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from aiohttp import web

from proxy import certificates
from proxy.config import UpstreamConfig
from proxy.credentials import CredentialsProvider
from proxy.errors import CredentialsRefused, DeadlineExceeded, UpstreamFailed
from proxy.metrics import Metrics
from proxy.sagemaker import Invocation, SageMaker
from proxy.signing import Credentials, Signer

QUICK = UpstreamConfig(connect_timeout_seconds=1, read_timeout_seconds=0.3, retries=2)
CALL = Invocation("llama", b"body", {"Content-Type": "text/plain"})

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def provider(current: Credentials | None) -> CredentialsProvider:
    return cast(CredentialsProvider, SimpleNamespace(current=current, problem="none found"))


CREDENTIALS = Credentials("AKID", "secret")


@asynccontextmanager
async def connected(
    url: str,
    credentials: Credentials | None = CREDENTIALS,
    ca: Path | None = None,
    metrics: Metrics | None = None,
) -> AsyncIterator[SageMaker]:
    signer = Signer("us-east-1", "sagemaker")
    context = ssl.create_default_context(cafile=ca)
    sagemaker = SageMaker(url, context, signer, provider(credentials), QUICK, metrics or Metrics())
    try:
        yield sagemaker
    finally:
        await sagemaker.close()


@asynccontextmanager
async def serving(
    handler: Handler, context: ssl.SSLContext | None = None, limit: int = 1024**2
) -> AsyncIterator[tuple[str, list[web.Request]]]:
    """A server on loopback; its host and port, and the requests that came."""
    requests: list[web.Request] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        requests.append(request)
        return await handler(request)

    application = web.Application(client_max_size=limit)
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}", requests
    finally:
        await runner.cleanup()


async def ok(_: web.Request) -> web.Response:
    return web.Response(text="answer")


async def read(sagemaker: SageMaker) -> bytes:
    async with await sagemaker.invoke(CALL) as answer:
        return b"".join([chunk async for chunk in answer.chunks()])


async def test_the_address_may_have_a_path_of_its_own() -> None:
    async with serving(ok) as (host, requests), connected(f"http://{host}/prefix") as sagemaker:
        assert await read(sagemaker) == b"answer"
        for method in (sagemaker.invoke_stream, sagemaker.invoke_async):
            async with await method(CALL):
                pass
    assert [request.path for request in requests] == [
        "/prefix/endpoints/llama/invocations",
        "/prefix/endpoints/llama/invocations-response-stream",
        "/prefix/endpoints/llama/async-invocations",
    ]


async def test_only_what_is_signed_is_sent() -> None:
    async with serving(ok) as (host, requests), connected(f"http://{host}") as sagemaker:
        await read(sagemaker)
    headers = requests[0].headers
    assert set(headers) == {
        *("Host", "Content-Type", "Content-Length", "X-Amz-Date", "Authorization"),
    }
    assert headers["Host"] == host


async def test_every_attempt_is_counted_and_why_it_was_made_again(
    value_of: Callable[[Metrics], Callable[..., float | None]],
) -> None:
    refusals = iter([web.Response(status=429), web.Response(status=424)])

    async def refuse(_: web.Request) -> web.Response:
        return next(refusals)

    metrics = Metrics()
    async with serving(refuse) as (host, _), connected(f"http://{host}", metrics=metrics) as there:
        with pytest.raises(UpstreamFailed):
            await there.invoke(CALL)
    async with connected("http://127.0.0.1:1", metrics=metrics) as nowhere:
        with pytest.raises(UpstreamFailed):
            await nowhere.invoke_stream(CALL)
    value = value_of(metrics)
    for operation, status, count in (
        ("invocations", "4xx", 2),
        ("invocations-response-stream", "failed", 1 + QUICK.retries),
    ):
        assert value("upstream_requests_total", operation=operation, status=status) == count
    for reason, count in (("throttled", 1), ("connection", QUICK.retries), ("credentials", 0)):
        assert value("upstream_retries_total", reason=reason) == count


async def test_a_connection_is_kept_for_the_next_call() -> None:
    peers = set()

    async def note(request: web.Request) -> web.Response:
        assert request.transport is not None
        peers.add(request.transport.get_extra_info("peername"))
        return web.Response()

    async with serving(note) as (host, _), connected(f"http://{host}") as sagemaker:
        for _number in range(3):
            await read(sagemaker)
    assert len(peers) == 1


async def test_a_redirect_is_not_followed() -> None:
    async def redirect(_: web.Request) -> web.Response:
        return web.Response(status=307, headers={"Location": "http://example.com/"})

    async with serving(redirect) as (host, requests), connected(f"http://{host}") as sagemaker:
        with pytest.raises(UpstreamFailed):
            await read(sagemaker)
    assert len(requests) == 1


async def test_an_answer_is_passed_on_as_it_is_encoded() -> None:
    async def gzipped(_: web.Request) -> web.Response:
        return web.Response(body=b"\x1f\x8bnot really", headers={"Content-Encoding": "gzip"})

    async with serving(gzipped) as (host, _), connected(f"http://{host}") as sagemaker:
        assert await read(sagemaker) == b"\x1f\x8bnot really"


async def test_nothing_is_sent_without_credentials() -> None:
    async with serving(ok) as (host, requests), connected(f"http://{host}", None) as sagemaker:
        with pytest.raises(CredentialsRefused) as caught:
            await read(sagemaker)
    assert requests == []
    assert "none found" in str(caught.value.log_message)
    assert "none found" not in caught.value.message


async def test_silence_is_a_deadline_exceeded() -> None:
    told = asyncio.Event()

    async def silent(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"first")
        await told.wait()
        return response

    async with serving(silent) as (host, _), connected(f"http://{host}") as sagemaker:
        with pytest.raises(DeadlineExceeded):
            await read(sagemaker)
        told.set()


async def test_a_refused_connection_is_tried_again_then_told(unused_tcp_port: int) -> None:
    async with connected(f"http://127.0.0.1:{unused_tcp_port}") as sagemaker:
        with pytest.raises(UpstreamFailed, match="cannot be reached") as caught:
            await read(sagemaker)
    assert "127.0.0.1" in str(caught.value.log_message)


async def test_a_refused_connection_that_is_taken_later_is_no_failure(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    application = web.Application()
    application.router.add_post("/{path:.*}", ok)
    runner = web.AppRunner(application)
    await runner.setup()
    pauses: list[float] = []

    async def start_instead_of_waiting(seconds: float) -> None:
        pauses.append(seconds)
        await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()

    async with connected(f"http://127.0.0.1:{unused_tcp_port}") as sagemaker:
        with monkeypatch.context() as patch:
            patch.setattr("proxy.sagemaker.asyncio.sleep", start_instead_of_waiting)
            assert await read(sagemaker) == b"answer"
    await runner.cleanup()
    assert len(pauses) == 1


class TestCertificates:
    @pytest.fixture
    def pair(self, tmp_path: Path) -> certificates.CertificatePair:
        return certificates.create(tmp_path, ["127.0.0.1"])

    async def test_one_that_nobody_vouches_for_is_refused(
        self, pair: certificates.CertificatePair
    ) -> None:
        async with (
            serving(ok, pair.ssl_context()) as (host, requests),
            connected(f"https://{host}") as sagemaker,
        ):
            with pytest.raises(UpstreamFailed, match="cannot be reached") as caught:
                await read(sagemaker)
        assert requests == []
        assert "certificate verify failed" in str(caught.value.log_message)

    async def test_one_that_is_vouched_for_is_trusted(
        self, pair: certificates.CertificatePair
    ) -> None:
        async with (
            serving(ok, pair.ssl_context()) as (host, _),
            connected(f"https://{host}", ca=pair.certificate) as sagemaker,
        ):
            assert await read(sagemaker) == b"answer"

    async def test_one_for_another_name_is_refused(self, tmp_path: Path) -> None:
        other = certificates.create(tmp_path, ["other.example.com"])
        async with (
            serving(ok, other.ssl_context()) as (host, _),
            connected(f"https://{host}", ca=other.certificate) as sagemaker,
        ):
            with pytest.raises(UpstreamFailed):
                await read(sagemaker)


async def test_each_kind_of_retry_has_its_own_count() -> None:
    answers = iter([*["ModelNotReadyException"] * 2, *["ThrottlingException"] * 2])

    async def refuse(_: web.Request) -> web.Response:
        name = next(answers, None)
        if name is None:
            return web.Response(text="answer")
        return web.Response(status=429, headers={"x-amzn-errortype": name}, text="{}")

    # Two retries are allowed for throttling; waking before must not use them up.
    async with serving(refuse) as (host, requests), connected(f"http://{host}") as sagemaker:
        assert await read(sagemaker) == b"answer"
    assert len(requests) == 5


async def test_a_large_body_is_signed_and_sent_as_a_small_one_is() -> None:
    received = []

    async def note(request: web.Request) -> web.Response:
        received.append((await request.read(), request.headers["Authorization"]))
        return web.Response()

    body = b"x" * 3_000_000
    async with (
        serving(note, limit=4_000_000) as (host, _),
        connected(f"http://{host}") as sagemaker,
        await sagemaker.invoke(Invocation("llama", body)),
    ):
        pass
    assert received[0][0] == body
    assert "Signature=" in received[0][1]


def test_an_invocation_does_not_show_its_body() -> None:
    assert "body" not in repr(CALL)


class TestInvocation:
    def test_components_are_deployments(self) -> None:
        headers = {"x-amzn-sagemaker-inference-component": "small"}
        invocation = Invocation("llama", b"", headers)
        assert invocation.deployment == invocation.sleeper == "llama/small"

    def test_what_can_be_asleep_by_itself_is_told_apart(self) -> None:
        headers = {
            "content-type": "application/json",
            "x-amzn-sagemaker-target-variant": "canary",
            "x-amzn-sagemaker-target-model": "cold.tar.gz",
            "x-amzn-sagemaker-session-id": "mine",
        }
        invocation = Invocation("many", b"", headers)
        assert invocation.deployment == "many"
        assert invocation.sleeper == "many target-model=cold.tar.gz target-variant=canary"
