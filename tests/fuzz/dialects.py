"""Whatever clients and containers send, a dialect fails in no way but those it is known for."""

from __future__ import annotations

import json

from proxy.dialects.base import Operation, Rendered, Settings, Stream, Whole
from proxy.dialects.openai import read_routing
from proxy.dialects.table import DIALECTS
from proxy.errors import ProxyError
from tests.fuzz.cutting import cut

_SEPARATOR = b"\x00"
_OPERATIONS = tuple(Operation)
_DIALECTS = tuple(DIALECTS)
_SETTINGS = (
    Settings(),
    Settings(chat_template="chatml", dimensions=True, pooling="cls", batch_limit=1),
    Settings(chat_template="llama-2", served_model="", pooling="last", batch_limit=2),
)


def check(data: bytes) -> None:
    """Three bytes choose dialect, operation and settings; the body and the answer follow."""
    if len(data) < 3:
        return
    dialect = _DIALECTS[data[0] % len(_DIALECTS)]
    operation = _OPERATIONS[data[1] % len(_OPERATIONS)]
    settings = _SETTINGS[data[2] % len(_SETTINGS)]
    body, _, answer = data[3:].partition(_SEPARATOR)
    try:
        model = read_routing(body).model  # as every request's is
        rendered = DIALECTS[dialect].render(body, operation, model=model, settings=settings)
        # What is no JSON where nobody has to look is the container's to refuse.
        if _is_json(body):
            assert all(map(_is_json, rendered.bodies))
        _read(rendered, answer, is_translated=dialect != "openai")
    except ProxyError:
        return


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _read(rendered: Rendered, answer: bytes, *, is_translated: bool) -> None:
    reader = rendered.reader
    if isinstance(reader, Whole):
        for number in range(len(rendered.bodies)):
            reader.take(number, answer)
        json.loads(reader.end())
    elif isinstance(reader, Stream):
        _, pieces = cut(answer)
        events = b"".join([*map(reader.feed, pieces), reader.end()])
        if is_translated:
            _check_events(events, failed=reader.error is not None)


def _check_events(events: bytes, *, failed: bool) -> None:
    assert not events or events.endswith(b"\n\n")
    datas = [event.removeprefix(b"data: ") for event in events.split(b"\n\n")[:-1]]
    for data in datas:
        assert data == b"[DONE]" or isinstance(json.loads(data), dict)
    assert not (failed and b"[DONE]" in datas), "a failed stream must not pass for whole"
