"""Asks a container for the usage of a stream, and leaves it out for a client that did not."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from types import MappingProxyType

from proxy.dialects.bodies import decode_values
from proxy.dialects.rewriting import replace
from proxy.errors import InvalidRequest

_EVENT_END = re.compile(rb"(?<=\n)\r?\n")

# An event that may be the usage's own: it has no choices.
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')


def with_usage(body: bytes, new: Mapping[str, bytes] = MappingProxyType({})) -> tuple[bytes, bool]:
    """The same request for a stream, asking for its usage; and whether it did so already.

    Other ``new`` values are set on the way. Raises ``InvalidRequest`` as ``with_values`` does, and
    if ``stream_options`` is no object.
    """
    values = decode_values(body)
    options = bytes(values.get("stream_options", b"null"))
    asks = False
    if options == b"null":
        new = {"stream_options": b'{"include_usage":true}', **new}
    elif not options.startswith(b"{"):
        message = "the field 'stream_options' must be an object"
        raise InvalidRequest(message, param="stream_options")
    else:
        known = decode_values(options)
        asks = bytes(known.get("include_usage", b"")) == b"true"
        if not asks:
            wanted = replace(options, known, {"include_usage": b"true"})
            new = {"stream_options": wanted, **new}
    return (replace(body, values, new) if new else body), asks


def without_usage(events: bytes) -> bytes:
    """Whole server-sent events, but for those that tell the usage and nothing else."""
    if not _NO_CHOICES.search(events):
        return events
    kept, start = [], 0
    for end in [*(match.end() for match in _EVENT_END.finditer(events)), len(events)]:
        event, start = events[start:end], end
        if not _is_usage(event):
            kept.append(event)
    return b"".join(kept)


def _is_usage(event: bytes) -> bool:
    lines = [line[5:] for line in event.splitlines() if line.startswith(b"data:")]
    try:
        chunk = json.loads(b"\n".join(lines))
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(chunk, dict)
        and chunk.get("choices") == []
        and isinstance(chunk.get("usage"), dict)
    )
