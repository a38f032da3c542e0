"""What was used, by key and model, added up from the lines of the log."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

# A request's line, as against all others, which are not worth reading.
_ACCESS = b'"proxy.access"'

_NO_SUCH_MODEL = "model_not_found"
_UNKNOWN = "unknown"


class _Entry(msgspec.Struct):
    """What is read of a request's line."""

    time: str
    status: int
    key: str | None = None
    model: str | None = None
    error: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None


_decoder = msgspec.json.Decoder(_Entry)


@dataclass(slots=True)
class Use:
    """Of one key and model."""

    requests: int = 0
    failed: int = 0  # with a 4xx or 5xx
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, other: Use) -> None:
        """Add another's numbers."""
        self.requests += other.requests
        self.failed += other.failed
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens


class Usage:
    """Adds up lines, in any order. What it holds grows with keys and models, not with lines."""

    def __init__(self, since: datetime | None = None, until: datetime | None = None) -> None:
        """Of the lines from ``since`` on, and before ``until``."""
        self._since = _as_logged(since) if since else ""
        self._until = _as_logged(until) if until else "~"  # which is after every time
        self.by_key_and_model: dict[tuple[str, str], Use] = {}
        self.first: str | None = None
        self.last: str | None = None

    def take(self, line: bytes) -> None:
        """Add a line, if it is of a request to a model, and in time."""
        if _ACCESS not in line:
            return
        try:
            entry = _decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return
        if entry.key is None or entry.model is None:
            return
        if not self._since <= entry.time < self._until:
            return
        self.first = min(self.first or entry.time, entry.time)
        self.last = max(self.last or entry.time, entry.time)
        # Whatever names clients make up are one.
        model = _UNKNOWN if entry.error == _NO_SUCH_MODEL else entry.model
        use = self.by_key_and_model.get((entry.key, model))
        if use is None:
            use = self.by_key_and_model[entry.key, model] = Use()
        use.requests += 1
        use.failed += entry.status >= 400
        use.prompt_tokens += entry.prompt_tokens or 0
        use.completion_tokens += entry.completion_tokens or 0

    def total(self) -> Use:
        """All of it together."""
        total = Use()
        for use in self.by_key_and_model.values():
            total.add(use)
        return total


def _as_logged(moment: datetime) -> str:
    """A moment as the log writes it; such texts are in the order of their times."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")
