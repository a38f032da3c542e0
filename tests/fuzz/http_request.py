"""Requests are the same however their bytes are cut, and nothing in one is the next one's."""

from __future__ import annotations

from dataclasses import dataclass

from proxy.http_request import BadRequest, RequestReader
from tests.fuzz.cutting import cut

_MOST_HEAD_BYTES = 1 << 20
_CONTROLS = {*map(chr, range(32)), "\x7f"} - {"\t"}


@dataclass(frozen=True)
class _Read:
    line: tuple[str, str, str]
    headers: dict[str, str]
    body: bytes
    keeps_alive: bool


def check(data: bytes) -> None:
    """Take the bytes in pieces and as one."""
    rest, pieces = cut(data)
    requests, is_bad = _read([rest])
    assert _read(pieces) == (requests, is_bad)
    for request in requests:
        texts = [*request.line, *request.headers, *request.headers.values()]
        assert not _CONTROLS & set("".join(texts))
        assert not {"content-length", "transfer-encoding"} <= request.headers.keys()
        length = request.headers.get("content-length")
        assert length is None or int(length) == len(request.body)


def _read(pieces: list[bytes]) -> tuple[list[_Read], bool]:
    """Those that are whole, up to one that is none, and whether there was one."""
    found: list[_Read] = []
    reader, body = RequestReader(_MOST_HEAD_BYTES), b""
    for piece in pieces:
        data = piece
        while data:
            try:
                body += reader.feed(data)
            except BadRequest:
                return found, True
            data = b""
            if reader.is_whole and (head := reader.request) is not None:
                line = head.method, head.uri, head.version
                found.append(_Read(line, head.headers, body, reader.keeps_alive))
                data = reader.rest
                reader, body = RequestReader(_MOST_HEAD_BYTES), b""
    return found, False
