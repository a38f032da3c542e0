"""The soak's own eyes: whatever an answer should not be, is seen."""

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from tests.emulator import loopback
from tests.emulator.eventstream import frame, payload_part
from tests.soak.clients import read
from tests.soak.judging import Outcome, Received, judge
from tests.soak.questions import Form, Question

RIGHT = b'data: {"n":1}\n\ndata: {"n":2}\n\ndata: [DONE]\n\n'
FAILURE = b'data: {"error":{"message":"the model has failed"}}\n\n'
REFUSAL = b'{"error":{"message":"no"}}'
EXCEPTION = frame({":message-type": "exception", ":exception-type": "InternalStreamFailure"}, b"{}")


def outcome(
    body: bytes,
    *,
    status: int = 200,
    whole: bool = True,
    form: Form = Form.EVENTS,
    may_be_cut: bool = True,
    headers: dict[str, str] | None = None,
) -> Outcome:
    question = Question(
        "any", "/", b"", RIGHT, form, excused=frozenset({429, 502}), may_be_cut=may_be_cut
    )
    return judge(question, Received(status, headers or {}, body, whole))[0]


def test_what_is_whole_and_equal_is_right() -> None:
    assert outcome(RIGHT) is Outcome.RIGHT
    frames = payload_part(RIGHT[:9]) + payload_part(RIGHT[9:])
    assert outcome(frames, form=Form.FRAMES) is Outcome.RIGHT


@pytest.mark.parametrize(
    "body",
    [
        RIGHT[:-1],
        RIGHT[:14],
        RIGHT.replace(b"2", b"3"),
        RIGHT + RIGHT,
        b"",
        RIGHT[:30] + FAILURE + b"data: [DONE]\n\n",  # that would say that all is well
        RIGHT[:30] + FAILURE[:-2],
    ],
)
def test_what_passes_for_whole_and_is_not_breaks_a_promise(body: bytes) -> None:
    assert outcome(body) is Outcome.BROKEN


def test_what_is_told_to_be_cut_has_to_be_right_so_far() -> None:
    assert outcome(RIGHT[:20], whole=False) is Outcome.CUT
    assert outcome(RIGHT[:30] + FAILURE) is Outcome.CUT
    assert outcome(payload_part(RIGHT[:9]) + EXCEPTION, form=Form.FRAMES) is Outcome.CUT
    assert outcome(b"data: wrong", whole=False) is Outcome.BROKEN
    assert outcome(b"data: wrong\n\n" + FAILURE) is Outcome.BROKEN
    assert outcome(payload_part(b"wrong") + EXCEPTION, form=Form.FRAMES) is Outcome.BROKEN


def test_where_nothing_fails_nothing_may_be_cut() -> None:
    assert outcome(RIGHT[:20], whole=False, may_be_cut=False) is Outcome.BROKEN


def test_frames_with_a_wrong_checksum_are_seen() -> None:
    wrong = bytearray(payload_part(RIGHT))
    wrong[-1] ^= 1
    assert outcome(bytes(wrong), form=Form.FRAMES) is Outcome.BROKEN


def test_a_refusal_has_a_status_of_the_table_and_says_why() -> None:
    assert outcome(REFUSAL, status=502) is Outcome.REFUSED
    assert outcome(REFUSAL, status=429, headers={"Retry-After": "1"}) is Outcome.REFUSED
    assert outcome(REFUSAL, status=429) is Outcome.BROKEN
    assert outcome(REFUSAL, status=500) is Outcome.BROKEN
    assert outcome(b"Bad Gateway", status=502) is Outcome.BROKEN
    assert outcome(b"", status=502) is Outcome.BROKEN


class TestOverAConnection:
    """By the client that the soak uses."""

    @pytest.fixture
    async def url(self) -> AsyncIterator[str]:
        app = web.Application()
        app.add_routes([web.get("/length", self.cut_length), web.get("/chunks", self.cut_chunks)])
        runner, url = await loopback.serve(app)
        yield url
        await runner.cleanup()

    async def cut_length(self, request: web.Request) -> web.StreamResponse:
        return await self.cut(request, web.StreamResponse(headers={"Content-Length": "1000"}))

    async def cut_chunks(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        return await self.cut(request, response)

    async def cut(self, request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
        await response.prepare(request)
        await response.write(RIGHT)
        assert request.transport is not None
        request.transport.close()
        return response

    @pytest.mark.parametrize("path", ["/length", "/chunks"])
    async def test_an_answer_that_is_cut_is_not_taken_for_whole(self, url: str, path: str) -> None:
        async with aiohttp.ClientSession() as session, session.get(url + path) as response:
            received = await asyncio.wait_for(read(response), 10)
        assert not received.whole
        assert received.body == RIGHT
        question = Question("any", path, b"", RIGHT)
        assert judge(question, received)[0] is Outcome.BROKEN


def test_sagemakers_own_words_are_words_enough() -> None:
    body = json.dumps({"message": None}).encode()
    assert outcome(body, status=502) is Outcome.REFUSED
