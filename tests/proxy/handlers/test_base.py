"""What goes wrong in a handler is answered, logged and never told in detail."""

import asyncio
import gc
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import aiohttp
import pytest
from tornado.netutil import bind_sockets

from proxy.application import Application
from proxy.config import Config
from proxy.errors import InvalidRequest, UpstreamFailed
from proxy.handlers.base import BaseHandler
from proxy.handlers.services import Services, WorkerState
from proxy.http_server import HTTPServer
from proxy.keys import KeyRing
from proxy.metrics import Metrics
from proxy.pacing import Pace


class Public(BaseHandler):
    public = True


class Buggy(Public):
    async def respond(self, *path: str) -> None:
        raise RuntimeError("internal detail")


class BuggyLate(Public):
    async def respond(self, *path: str) -> None:
        self.write(b"the first half")
        await self.flush()
        raise RuntimeError("internal detail")


class Refusing(Public):
    async def respond(self, *path: str) -> None:
        self.write(b"what was never sent")
        raise InvalidRequest("no such thing", param="thing", log_message="operator's matter")


class RefusingLate(Public):
    async def respond(self, *path: str) -> None:
        self.set_header("Content-Length", "100")
        self.write(b"the first half")
        await self.flush()
        raise UpstreamFailed("gone")


class TooShort(Public):
    async def respond(self, *path: str) -> None:
        self.set_header("Content-Length", "100")
        self.write(b"the first half")


class NoHeader(Public):
    async def respond(self, *path: str) -> None:
        self.set_header("X-Told", "one\r\nX-Untold: two")
        self.write(b"whole")


@asynccontextmanager
async def serving(handler: type[BaseHandler]) -> AsyncIterator[tuple[str, WorkerState]]:
    state = WorkerState()
    nothing = cast(Any, None)
    services = Services(
        config=Config(),
        keys=KeyRing({}),
        guesses=nothing,
        limits=nothing,
        credentials=nothing,
        catalog=nothing,
        models=nothing,
        sagemaker=nothing,
        objects=nothing,
        seal=None,
        metrics=Metrics(),
        figures=nothing,
        exposition=nothing,
        traces=None,
        certificate_expires=None,
        state=state,
    )
    server = HTTPServer(
        Application(services, [("/", "/", handler)]).take,
        state,
        most_head_bytes=8192,
        most_connections=10,
        idle_seconds=10,
        body_seconds=10,
    )
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    try:
        yield f"http://127.0.0.1:{sockets[0].getsockname()[1]}", state
    finally:
        server.stop()
        await server.close_connections()


async def get(url: str) -> tuple[int, dict[str, Any], str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.json(), answer.headers["X-Request-Id"]


async def test_an_unforeseen_error_is_500_without_its_details(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serving(Buggy) as (url, state):
        status, body, request_id = await get(url)
        assert state.open_requests == 0
    assert status == 500
    assert body["error"]["type"] == "server_error"
    assert "internal detail" not in str(body)
    (record,) = [record for record in caplog.records if record.exc_info]
    assert vars(record)["fields"]["request_id"] == request_id


async def test_who_is_refused_too_often_is_so_at_once_and_then_has_to_wait() -> None:
    async with serving(Refusing) as (url, state):
        state.error_pace = Pace(per_second=1, most_seconds=0.5)
        async with aiohttp.ClientSession() as session:
            took = []
            for _ in range(4):
                began = time.monotonic()
                async with session.get(url) as answer:
                    assert answer.status == 400
                took.append(time.monotonic() - began)
        assert took[3] >= 0.4  # the third was over the pace, and has the next one wait
        assert state.connections == 1


async def test_nobody_waits_whose_server_drains() -> None:
    async with serving(Refusing) as (url, state):
        state.error_pace = Pace(per_second=1, most_seconds=3600)
        state.draining = True
        for _ in range(3):
            assert (await get(url))[0] == 400
        assert state.error_pace.turn(asyncio.get_running_loop().time()) == 0


@pytest.mark.parametrize("handler", [BuggyLate, RefusingLate])
async def test_an_answer_that_fails_late_cannot_pass_for_whole(
    handler: type[BaseHandler],
) -> None:
    async with serving(handler) as (url, state):
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            assert answer.status == 200
            with pytest.raises(aiohttp.ClientPayloadError):
                await answer.read()
        async with asyncio.timeout(5):
            await state.idle.wait()


@pytest.mark.parametrize("handler", [TooShort, NoHeader])
async def test_an_answer_that_cannot_be_sent_ends_its_connection(
    handler: type[BaseHandler], caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(handler) as (url, state):
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientError):
                async with session.get(url) as answer:
                    await answer.read()
        async with asyncio.timeout(5):
            await state.idle.wait()
        gc.collect()
    assert [record for record in caplog.records if record.exc_info]


async def test_an_error_replaces_what_was_not_sent_yet(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving(Refusing) as (url, _):
        status, body, _ = await get(url)
    assert status == 400
    assert body == {
        "error": {
            "message": "no such thing",
            "type": "invalid_request_error",
            "code": "invalid_request",
            "param": "thing",
        }
    }
    assert "operator's matter" in caplog.messages
