"""Asks a container for the usage of a stream, and leaves it out for a client that did not."""

from __future__ import annotations

import json
import re

import msgspec

from proxy.dialects.rewriting import read_values, with_values
from proxy.errors import InvalidRequest

_EVENT_END = re.compile(rb"(?<=\n)\r?\n")

# An event that may be the usage's own: it has no choices.
_NO_CHOICES = re.compile(rb'"choices"\s*:\s*\[\s*\]')


def with_usage(body: bytes) -> tuple[bytes, bool]:
    """The same request for a stream, asking for its usage; and whether it did so already.

    Raises ``InvalidRequest`` as ``with_values`` does, and if ``stream_options`` is no object.
    """
    options = read_values(body).get("stream_options")
    asks, wanted = False, b'{"include_usage":true}'
    if options is not None and bytes(options) != b"null":
        try:
            asks = msgspec.json.decode(options).get("include_usage") is True
            wanted = with_values(bytes(options), {"include_usage": b"true"})
        except (InvalidRequest, AttributeError) as exc:
            message = "the field 'stream_options' must be an object"
            raise InvalidRequest(message, param="stream_options") from exc
    return (body if asks else with_values(body, {"stream_options": wanted})), asks


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
