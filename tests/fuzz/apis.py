"""Whatever clients and containers send, an API fails in no way but those it is known for."""

from __future__ import annotations

import json
from contextlib import suppress

from proxy.apis.base import Api, ApiStream
from proxy.apis.messages import COUNT, MESSAGES
from proxy.apis.responses import RESPONSES
from proxy.errors import ProxyError, UpstreamFailed
from proxy.sse import EventSplitter
from tests.fuzz.cutting import cut

_SEPARATOR = b"\x00"
_APIS: tuple[Api, ...] = (RESPONSES, MESSAGES, COUNT)


def check(data: bytes) -> None:
    """A byte chooses the API; the body and the chat's answer follow, whole or as events."""
    if not data:
        return
    body, _, rest = data[1:].partition(_SEPARATOR)
    answer, pieces = cut(rest)
    try:
        translated = _APIS[data[0] % len(_APIS)].to_chat(body)
    except ProxyError:
        return
    assert isinstance(json.loads(translated.chat)["messages"], list)
    with suppress(ProxyError):
        assert isinstance(json.loads(translated.whole(answer)), dict)
    _check_events(_render(translated.stream(), pieces))


def _render(stream: ApiStream, pieces: list[bytes]) -> bytes:
    """The events for those of the answer, to the end or to the failure."""
    splitter, shown = EventSplitter(), b""
    try:
        for piece in pieces:
            if events := splitter.feed(piece):
                shown += stream.feed(events)
        return shown + stream.end()
    except UpstreamFailed as error:
        return shown + stream.fail(error)


def _check_events(events: bytes) -> None:
    assert events.endswith(b"\n\n")
    for event in events.split(b"\n\n")[:-1]:
        name, data = event.split(b"\n")
        assert json.loads(data.removeprefix(b"data: "))["type"].encode() == name[7:]
