"""AWS's event stream framing (``application/vnd.amazon.eventstream``), decoded as bytes arrive.

A frame is: total length (4 bytes), headers length (4), CRC-32 of those eight, headers, payload,
CRC-32 of all before it; numbers are big-endian. Source: "Amazon Event Stream Specification" in
the Smithy documentation.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import TypeAlias
from zlib import crc32

HeaderValue: TypeAlias = bool | int | bytes | str | datetime | uuid.UUID

_PRELUDE = struct.Struct("!III")
_CRC = struct.Struct("!I")
_OVERHEAD = _PRELUDE.size + _CRC.size
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MAX_HEADERS_BYTES = 128 * 1024
_MOST_KEPT_BYTES = 1024
MAX_PAYLOAD_BYTES = 24 * 1024 * 1024

# Header value types with a fixed length: struct format by type number.
_FIXED = {2: struct.Struct("!b"), 3: struct.Struct("!h"), 4: struct.Struct("!i")}
_LONG = struct.Struct("!q")
_LENGTH = struct.Struct("!H")


class EventStreamError(ValueError):
    """The bytes are no event stream, or a damaged one."""


@dataclass(frozen=True, slots=True)
class Message:
    """One decoded frame."""

    headers: Mapping[str, HeaderValue]
    payload: bytes

    @property
    def exception(self) -> str | None:
        """The name of the exception or error this frame reports; None for an event."""
        kind = self.headers.get(":message-type")
        if kind == "event":
            return None
        name = self.headers.get(":exception-type") or self.headers.get(":error-code")
        return str(name or "UnknownError")


class FrameSplitter:
    """Cuts a stream of bytes into whole frames, with both checksums verified."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def pending(self) -> int:
        """How many bytes of an unfinished frame are held."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[bytes]:
        """Return the frames that are whole now. Raises ``EventStreamError``."""
        buffer = self._buffer
        buffer += data
        frames: list[bytes] = []
        start, end = 0, len(buffer)
        while end - start >= _PRELUDE.size:
            total, headers_length, checksum = _PRELUDE.unpack_from(buffer, start)
            if crc32(buffer[start : start + 8]) != checksum:
                raise EventStreamError("the checksum of a frame's prelude does not match")
            if headers_length > MAX_HEADERS_BYTES:
                raise EventStreamError(f"a frame announces {headers_length} bytes of headers")
            payload_length = total - headers_length - _OVERHEAD
            if not 0 <= payload_length <= MAX_PAYLOAD_BYTES:
                raise EventStreamError(f"a frame announces {payload_length} bytes of payload")
            if end - start < total:
                break
            frame = bytes(buffer[start : start + total])
            if crc32(frame[:-4]) != _CRC.unpack_from(frame, total - 4)[0]:
                raise EventStreamError("the checksum of a frame does not match")
            frames.append(frame)
            start += total
        del buffer[:start]
        return frames


def decode(frame: bytes) -> Message:
    """Read one whole frame, as ``FrameSplitter`` gives it. Raises ``EventStreamError``."""
    headers_end = _PRELUDE.size + _PRELUDE.unpack_from(frame)[1]
    return Message(_read_headers(frame[_PRELUDE.size : headers_end]), frame[headers_end:-4])


def encode_exception(name: str, payload: bytes) -> bytes:
    """A frame that reports an exception, as SageMaker ends a stream that failed."""
    headers = b"".join(
        _encode_string_header(key, value)
        for key, value in (
            (":exception-type", name),
            (":content-type", "application/json"),
            (":message-type", "exception"),
        )
    )
    lengths = struct.pack("!II", len(headers) + len(payload) + _OVERHEAD, len(headers))
    head = lengths + _CRC.pack(crc32(lengths)) + headers + payload
    return head + _CRC.pack(crc32(head))


def _encode_string_header(name: str, value: str) -> bytes:
    encoded_name, encoded = name.encode(), value.encode()
    return (
        bytes((len(encoded_name),)) + encoded_name + b"\x07" + _LENGTH.pack(len(encoded)) + encoded
    )


def _read_headers(data: bytes) -> Mapping[str, HeaderValue]:
    """The headers of a frame, which are nearly always those of the one before it."""
    if len(data) > _MOST_KEPT_BYTES:
        return _decode_headers(data)
    return _kept_headers(data)


@lru_cache(maxsize=16)
def _kept_headers(data: bytes) -> Mapping[str, HeaderValue]:
    return MappingProxyType(_decode_headers(data))


def _decode_headers(data: bytes) -> dict[str, HeaderValue]:
    headers: dict[str, HeaderValue] = {}
    at, end = 0, len(data)
    try:
        while at < end:
            name_end = at + 1 + data[at]
            name = data[at + 1 : name_end].decode()
            if name in headers:
                raise EventStreamError(f"the header {name!r} stands twice in one frame")
            headers[name], at = _decode_value(data, name_end)
    except EventStreamError:
        raise
    except (struct.error, IndexError, ValueError, OverflowError) as exc:
        raise EventStreamError("a frame's headers are malformed") from exc
    if at != end:
        raise EventStreamError("a frame's headers are longer than it says")
    return headers


def _decode_value(data: bytes, at: int) -> tuple[HeaderValue, int]:
    """The value whose type byte is at ``at``, and where the next header starts."""
    kind = data[at]
    at += 1
    if kind in (6, 7):
        start = at + 2
        end = start + _LENGTH.unpack_from(data, at)[0]
        if end > len(data):
            raise EventStreamError("a header reaches beyond its frame")
        return (data[start:end].decode() if kind == 7 else data[start:end]), end
    if kind in (0, 1):
        return kind == 0, at
    if kind in _FIXED:
        return _FIXED[kind].unpack_from(data, at)[0], at + _FIXED[kind].size
    if kind == 5:
        return _LONG.unpack_from(data, at)[0], at + 8
    if kind == 8:
        return _EPOCH + timedelta(milliseconds=_LONG.unpack_from(data, at)[0]), at + 8
    if kind == 9:
        return uuid.UUID(bytes=data[at : at + 16]), at + 16
    raise EventStreamError(f"a header has the unknown type {kind}")
