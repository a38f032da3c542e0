"""Encodes AWS event-stream frames, written from the format's description alone.

It shares no code with the decoder under test, so one cannot hide the other's mistake.
"""

import json
import struct
from collections.abc import Mapping
from zlib import crc32

_STRING = 7


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Encode one message whose headers are all strings."""
    encoded = b"".join(_header(name, value) for name, value in headers.items())
    # Two lengths and their checksum come first; the checksum of everything comes last.
    total = 12 + len(encoded) + len(payload) + 4
    prelude = struct.pack("!II", total, len(encoded))
    prelude += struct.pack("!I", crc32(prelude))
    message = prelude + encoded + payload
    return message + struct.pack("!I", crc32(message))


def payload_part(payload: bytes) -> bytes:
    """Encode a piece of the container's answer."""
    headers = {
        ":event-type": "PayloadPart",
        ":content-type": "application/octet-stream",
        ":message-type": "event",
    }
    return frame(headers, payload)


def model_stream_error(message: str, error_code: str) -> bytes:
    """Encode the end of a stream whose container failed."""
    return _exception("ModelStreamError", {"Message": message, "ErrorCode": error_code})


def internal_stream_failure(message: str) -> bytes:
    """Encode the end of a stream that SageMaker itself failed."""
    return _exception("InternalStreamFailure", {"Message": message})


def corrupted(message: bytes) -> bytes:
    """Spoil the closing checksum of a frame."""
    return message[:-1] + bytes([message[-1] ^ 0xFF])


def _exception(kind: str, body: Mapping[str, str]) -> bytes:
    headers = {
        ":exception-type": kind,
        ":content-type": "application/json",
        ":message-type": "exception",
    }
    return frame(headers, json.dumps(body).encode())


def _header(name: str, value: str) -> bytes:
    key, text = name.encode(), value.encode()
    return struct.pack("!B", len(key)) + key + struct.pack("!BH", _STRING, len(text)) + text
