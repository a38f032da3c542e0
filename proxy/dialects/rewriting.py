"""Sets some values of a JSON object and leaves every other byte as it was."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import msgspec

from proxy.dialects.bodies import decode_values

_SPACE = re.compile(rb"[ \t\r\n]*+")
_COLON = re.compile(rb"[ \t\r\n]*+:[ \t\r\n]*+")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"', re.DOTALL)


def with_values(body: bytes, new: Mapping[str, bytes]) -> bytes:
    """``body`` with the ``new`` values, which are JSON; fields it lacks come first.

    Raises ``InvalidRequest`` as ``decode_values`` does.
    """
    return replace(body, decode_values(body), new)


def replace(body: bytes, values: Mapping[str, msgspec.Raw], new: Mapping[str, bytes]) -> bytes:
    """The same for a body of which ``decode_values`` has told the ``values``."""
    start = _after(_SPACE, body, 0) + 1  # behind the brace
    missing = [json.dumps(key).encode() + b":" + new[key] for key in new if key not in values]
    if not values:
        return b"".join([body[:start], b",".join(missing), body[start:]])
    pieces = [body[:start], *(field + b"," for field in missing)]
    kept = position = start
    for key, value in values.items():
        position = _after(_STRING, body, _after(_SPACE, body, position))
        position = _after(_COLON, body, position)
        end = position + len(memoryview(value))
        if key in new:
            pieces += [body[kept:position], new[key]]
            kept = end
        position = _after(_SPACE, body, end) + 1  # behind the comma
    return b"".join([*pieces, body[kept:]])


def _after(pattern: re.Pattern[bytes], body: bytes, position: int) -> int:
    match = pattern.match(body, position)
    return match.end() if match else position
