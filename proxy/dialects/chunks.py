"""What an answer of OpenAI's says besides its text: which choices have ended, the usage, a failure.

It is read from the bytes, which stay as they are.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from proxy.dialects.base import Usage, count
from proxy.dialects.failures import find_failure
from proxy.errors import UpstreamFailed

ENDED_EARLY = "the model's stream ended before its answer did"


class Choice(msgspec.Struct):
    """One choice; ``finish_reason`` is None while there is more."""

    index: int = 0
    finish_reason: object = None


class _Counts(msgspec.Struct):
    prompt_tokens: object = None
    completion_tokens: object = None


class Chunk(msgspec.Struct):
    """A chunk of a stream, or a whole answer."""

    choices: list[Choice]
    model: str | None = None
    counts: _Counts | None = msgspec.field(default=None, name="usage")
    error: object = None

    @property
    def usage(self) -> Usage | None:
        """The usage, if it is told here."""
        if self.counts is None:
            return None
        return Usage(count(self.counts.prompt_tokens), count(self.counts.completion_tokens))


_decoder = msgspec.json.Decoder(Chunk)


def read_chunk(data: bytes) -> Chunk | None:
    """What ``data`` says; None if it is JSON of another kind.

    Raises ``ValueError`` or ``RecursionError`` if it is no JSON, and the failure that it reports.
    """
    try:
        chunk = _decoder.decode(data)
    except msgspec.ValidationError:
        chunk = None
    if (chunk is None or chunk.error is not None) and (
        failure := find_failure(msgspec.json.decode(data))
    ):
        raise failure
    return chunk


class Choices:
    """The choices of a stream, by whether they have ended."""

    def __init__(self) -> None:
        self._begun: set[int] = set()
        self._ended: set[int] = set()

    def note(self, choices: Sequence[Choice]) -> None:
        """Take those of one more chunk."""
        for choice in choices:
            self._begun.add(choice.index)
            if choice.finish_reason is not None:
                self._ended.add(choice.index)

    def check_ended(self) -> None:
        """Raises ``UpstreamFailed`` if there are none, or one that has begun has not ended."""
        if not self._begun or self._begun - self._ended:
            raise UpstreamFailed(ENDED_EARLY)
