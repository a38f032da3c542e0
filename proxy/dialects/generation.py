"""Renders the answers of containers that write text: whole, or token by token."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from proxy.dialects.base import Rendered, Usage, Whole, unexpected
from proxy.dialects.chunks import ENDED_EARLY
from proxy.dialects.failures import find_failure
from proxy.dialects.lines import LineStream
from proxy.dialects.shapes import DONE as DONE_EVENT
from proxy.dialects.shapes import Head, encode
from proxy.dialects.stops import StopCutter
from proxy.dialects.text import TextRequest
from proxy.errors import UpstreamFailed

# What TGI, LMI and those before them call the end. All but the length is the model's own stop.
_LENGTH = "length"


@dataclass(frozen=True, slots=True)
class Piece:
    """Text from a container. ``finish_reason`` is its own word, None while there is more."""

    text: str
    finish_reason: str | None = None
    usage: Usage | None = None


ReadPiece = Callable[[object], Piece]
"""Reads a container's JSON. Raises ``LookupError``, ``TypeError`` or ``ValueError`` if it is not as
documented, and ``ProxyError`` for a failure."""


class TextWhole(Whole):
    """Makes one choice of the answer to each prompt."""

    def __init__(self, dialect: str, head: Head, stops: tuple[str, ...], read: ReadPiece) -> None:
        self._dialect = dialect
        self._head = head
        self._stops = stops
        self._read = read
        self._pieces: dict[int, Piece] = {}

    def take(self, number: int, body: bytes) -> None:
        """Read the text of one answer. Raises ``ProxyError``."""
        self._pieces[number] = read_json(self._dialect, body, self._read)

    def end(self) -> bytes:
        """One answer with a choice for each prompt."""
        pieces = [piece for _, piece in sorted(self._pieces.items())]
        self.usage = _total([piece.usage for piece in pieces])
        return self._head.whole([self._cut(piece) for piece in pieces], self.usage)

    def _cut(self, piece: Piece) -> tuple[str, str]:
        cutter = StopCutter(self._stops)
        text = cutter.feed(piece.text) + cutter.end()
        return text, "stop" if cutter.stopped else _finish_reason(piece.finish_reason)


class TextStream(LineStream):
    """Makes a chunk of each token."""

    def __init__(
        self,
        dialect: str,
        head: Head,
        stops: tuple[str, ...],
        read: ReadPiece,
        *,
        include_usage: bool,
    ) -> None:
        super().__init__()
        self._dialect = dialect
        self._head = head
        self._cutter = StopCutter(stops)
        self._read = read
        self._include_usage = include_usage
        self._begun = False
        self._finished = False

    def _conclude(self) -> None:
        if not self._finished:
            raise UpstreamFailed(ENDED_EARLY)

    def _take(self, payload: bytes) -> None:
        if self._finished:
            return
        piece = read_json(self._dialect, payload, self._read)
        if not self._begun:
            self._begun = True
            self._send(self._head.role(self._include_usage))
        text = self._cutter.feed(piece.text)
        if piece.finish_reason is not None:
            text += self._cutter.end()
        if text:
            self._send(self._head.text(text, self._include_usage))
        if piece.finish_reason is not None:
            self._end(piece)

    def _end(self, piece: Piece) -> None:
        self._finished = True
        self.usage = piece.usage
        reason = "stop" if self._cutter.stopped else _finish_reason(piece.finish_reason)
        self._send(self._head.finish(reason, self._include_usage))
        if self._include_usage:
            self._send(self._head.usage(piece.usage))
        self._send(DONE_EVENT)


def render_text(
    dialect: str,
    head: Head,
    request: TextRequest,
    stops: Mapping[str, object],
    read_whole: ReadPiece,
    read_line: ReadPiece,
) -> Rendered:
    """A body for each prompt, as TGI and LMI take them.

    ``stops`` are those parameters that name the stop sequences, if there are any.
    """
    parameters = {**request.parameters, "details": True, **(stops if request.stops else {})}
    bodies = [
        encode({"inputs": prompt, "parameters": parameters, "stream": request.stream})
        for prompt in request.prompts
    ]
    if not request.stream:
        return Rendered(bodies, TextWhole(dialect, head, request.stops, read_whole))
    stream = TextStream(
        dialect, head, request.stops, read_line, include_usage=request.include_usage
    )
    return Rendered(bodies, stream)


def read_json(dialect: str, data: bytes, read: ReadPiece) -> Piece:
    """What a container's JSON says. Raises ``ProxyError``."""
    try:
        said = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise unexpected(dialect, "it is not valid JSON") from exc
    if (failure := find_failure(said)) is not None:
        raise failure
    try:
        return read(said)
    except (LookupError, TypeError, ValueError, AttributeError) as exc:
        raise unexpected(dialect, f"it has no generated text ({type(exc).__name__})") from exc


def text_of(value: object) -> str:
    """``value``, which must be a text. Raises ``TypeError``."""
    if not isinstance(value, str):
        raise TypeError("not a text")
    return value


def _finish_reason(own: str | None) -> str:
    return "length" if own == _LENGTH else "stop"


def _total(usages: list[Usage | None]) -> Usage | None:
    known = [usage for usage in usages if usage is not None]
    if len(known) < len(usages):
        return None
    prompts = [usage.prompt_tokens for usage in known]
    completions = [usage.completion_tokens for usage in known]
    return Usage(_sum(prompts), _sum(completions))


def _sum(counts: list[int | None]) -> int | None:
    known = [number for number in counts if number is not None]
    return sum(known) if len(known) == len(counts) else None
