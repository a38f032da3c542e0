"""W3C's ``traceparent`` header: the trace that a request is part of."""

from __future__ import annotations

import re

# Version, trace, parent, flags. A later version than 00 may have more behind them.
_FORM = re.compile(
    r"(?!ff)(?P<version>[0-9a-f]{2})-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})[0-9a-f]{16}"
    r"-[0-9a-f]{2}(?P<more>-.*)?"
)


def trace_id(header: str) -> str | None:
    """The trace's id; None if the header is not valid, for then it is to be passed over."""
    found = _FORM.fullmatch(header)
    if found is None or (found["version"] == "00" and found["more"] is not None):
        return None
    return found["trace"]
