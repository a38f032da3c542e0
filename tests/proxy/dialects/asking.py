"""Sends what a dialect has rendered to an emulated container, and reads streams for the tests."""

import asyncio
import itertools
import json
from collections.abc import Iterable
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from hypothesis import strategies as st

from proxy.dialects.base import Operation, Rendered, Settings, Stream, Whole
from proxy.dialects.table import DIALECTS

Json = dict[str, Any]


def render(dialect: str, operation: Operation, body: Json, settings: Settings) -> Rendered:
    data = json.dumps({"model": "public", **body}, ensure_ascii=False).encode()
    return DIALECTS[dialect].render(data, operation, model="public", settings=settings)


def answers(container: web.Application, bodies: Iterable[bytes]) -> list[tuple[int, bytes]]:
    """The status and the bytes with which the container answers each body."""

    async def ask() -> list[tuple[int, bytes]]:
        async with TestClient(TestServer(container)) as client:
            found = []
            for body in bodies:
                headers = {"Content-Type": "application/json"}
                answered = await client.post("/invocations", data=body, headers=headers)
                found.append((answered.status, await answered.read()))
            return found

    return asyncio.run(ask())


def ask_whole(
    dialect: str,
    container: web.Application,
    operation: Operation,
    body: Json,
    settings: Settings | None = None,
) -> tuple[Json, Whole]:
    """The answer to a client's request, and its reader."""
    rendered = render(dialect, operation, body, settings or Settings())
    assert isinstance(rendered.reader, Whole)
    found = answers(container, rendered.bodies)
    assert [status for status, _ in found] == [200] * len(rendered.bodies), found
    return json.loads(read_whole(rendered.reader, [body for _, body in found])), rendered.reader


def read_whole(reader: object, bodies: list[bytes]) -> bytes:
    """What is made of the answers, of which the last arrives first."""
    assert isinstance(reader, Whole)
    for number, body in reversed([*enumerate(bodies)]):
        reader.take(number, body)
    return reader.end()


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """``data`` cut at places."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in itertools.pairwise(places)]


places = st.lists(st.integers(min_value=0, max_value=100_000), max_size=12)


def read_stream(stream: Stream, payloads: Iterable[bytes]) -> bytes:
    """All that a stream renders."""
    return b"".join([*(stream.feed(payload) for payload in payloads), stream.end()])


def events(rendered: bytes) -> list[Any]:
    """The data of each event; ``[DONE]`` as it is."""
    assert not rendered or rendered.endswith(b"\n\n")
    data = [event.removeprefix(b"data: ") for event in rendered.split(b"\n\n")[:-1]]
    return [item.decode() if item == b"[DONE]" else json.loads(item) for item in data]


def without_identity(event: Any) -> Any:
    """An event without what differs from one answer to the next."""
    if not isinstance(event, dict):
        return event
    return {key: value for key, value in event.items() if key not in ("id", "created")}


def said(found: list[Any]) -> str:
    """The text of a stream's chunks."""
    choices = [choice for event in found[:-1] for choice in event["choices"]]
    return "".join(
        choice["delta"].get("content", "") if "delta" in choice else choice["text"]
        for choice in choices
    )
