"""W3C's ``traceparent`` header: the trace that a request is part of."""

from __future__ import annotations

import re
from typing import NamedTuple

# A later version than 00 may have more behind its flags.
_FORM = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?P<trace>(?!0{32})[0-9a-f]{32})"
    r"-(?P<parent>(?!0{16})[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})(?P<more>-.*)?"
)


class Traceparent(NamedTuple):
    """What the header says; the ids in hex, as they stand there."""

    trace_id: str
    parent_id: str
    flags: int  # the lowest bit: the trace is sampled


def read(header: str) -> Traceparent | None:
    """What the header says; None if it is not valid, for then it is to be passed over."""
    found = _FORM.fullmatch(header)
    if found is None or (found["version"] == "00" and found["more"] is not None):
        return None
    return Traceparent(found["trace"], found["parent"], int(found["flags"], 16))
