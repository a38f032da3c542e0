"""An event stream is read as botocore reads it, or refused, however it is cut."""

from __future__ import annotations

import struct
import uuid
from datetime import UTC, datetime, timedelta
from zlib import crc32

from botocore.eventstream import EventStreamBuffer

from proxy.eventstream import EventStreamError, FrameSplitter, HeaderValue, decode
from tests.fuzz.cutting import cut

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Decoded = list[tuple[dict[str, object], bytes]]


def check(data: bytes) -> None:
    """The first byte tells whether the rest is a stream, or headers to be framed rightly."""
    rest, pieces = cut(data[1:])
    if data[:1] >= b"\x80":
        rest, pieces = _framed(rest), [_framed(rest)]
    try:
        splitter = FrameSplitter()
        frames = [frame for piece in pieces for frame in splitter.feed(piece)]
        found = [(dict(each.headers), each.payload) for each in map(decode, frames)]
    except EventStreamError:
        return
    assert sum(map(len, frames)) + splitter.pending == len(rest)
    if frames:
        ours = [({name: _plain(value) for name, value in h.items()}, body) for h, body in found]
        assert ours == _by_botocore(b"".join(frames))


def _framed(headers: bytes) -> bytes:
    headers, payload = headers[:200], headers[200:]
    lengths = struct.pack("!II", len(headers) + len(payload) + 16, len(headers))
    head = lengths + struct.pack("!I", crc32(lengths)) + headers + payload
    return head + struct.pack("!I", crc32(head))


def _plain(value: HeaderValue) -> object:
    if isinstance(value, datetime):
        return (value - _EPOCH) // timedelta(milliseconds=1)
    return value.bytes if isinstance(value, uuid.UUID) else value


def _by_botocore(data: bytes) -> Decoded:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(event.headers, event.payload) for event in buffer]
