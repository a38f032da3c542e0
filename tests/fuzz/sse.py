"""Server-sent events come out whole, and every byte comes out once, however they are cut."""

from __future__ import annotations

import re

from proxy.sse import EventSplitter
from tests.fuzz.cutting import cut

_END = re.compile(rb"(?:\r\n|\n|\r)(?:\r\n|\n|\r)\Z")
_INSIDE = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")


def check(data: bytes) -> None:
    """Take the bytes in pieces and as one."""
    rest, pieces = cut(data)
    splitter = EventSplitter()
    events = [splitter.feed(piece) for piece in pieces]
    left = splitter.flush()
    assert b"".join(events) + left == rest
    assert all(_END.search(each) for each in events if each)
    # A CR at the very end may be half of a CRLF.
    assert not _INSIDE.search(left.removesuffix(b"\r"))
