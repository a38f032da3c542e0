"""A response is the same however its bytes are cut, and its headers can be passed on."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.http_response import BadResponse, Head, ResponseReader
from tests.fuzz.cutting import cut

_CONTROLS = {*map(chr, range(32)), "\x7f"} - {"\t"}


@dataclass(frozen=True)
class _Outcome:
    head: Head | None
    body: bytes
    is_whole: bool
    keeps_alive: bool


def check(data: bytes) -> None:
    """Take the bytes in pieces and as one."""
    rest, pieces = cut(data)
    whole = _read([rest])
    assert _read(pieces) == whole
    if whole is not None and whole.head is not None:
        assert 200 <= whole.head.status <= 999
        for name, value in whole.head.headers.items():
            assert name
            assert not _CONTROLS & set(name + value)
            (name + value).encode("latin-1")
    assert whole is None or len(whole.body) <= len(rest)


def _read(pieces: list[bytes]) -> _Outcome | None:
    """None if it is no response."""
    reader = ResponseReader()
    try:
        body = b"".join([reader.feed(piece) for piece in pieces])
        keeps_alive = reader.is_whole and reader.keeps_alive
        ended_whole = reader.is_whole
        if not ended_whole:
            reader.end()
    except BadResponse:
        return None
    return _Outcome(reader.head, body, ended_whole, keeps_alive)
