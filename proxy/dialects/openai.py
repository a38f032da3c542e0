"""The dialect of containers that speak OpenAI's own schema, as vLLM and SGLang do.

Bodies pass through untouched; this reads only what routing and the log need.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import msgspec

from proxy.dialects import reranking
from proxy.dialects.base import Operation, Relayed, Rendered, Settings, Stream, Usage
from proxy.dialects.bodies import decode, decode_values
from proxy.dialects.chunks import ENDED_EARLY, Choices, read_chunk
from proxy.dialects.lines import DONE
from proxy.dialects.rewriting import with_values
from proxy.dialects.shapes import DONE as DONE_EVENT
from proxy.dialects.stream_options import with_usage, without_usage
from proxy.errors import InvalidRequest, ProxyError, UpstreamFailed
from proxy.sse import EventSplitter, EventTooLarge

# "usage" as a key: a quote inside a JSON string would be escaped.
_USAGE = re.compile(rb'(?<!\\)"usage"\s*:\s*(?=\{)')

# An error that is cut off.
_ERROR = re.compile(rb'\{\s*"error"\s*:\s*(?!null)')

# Of a long answer this much of the end is kept to look for the usage in.
USAGE_TAIL_BYTES = 16 * 1024


class _Request(msgspec.Struct):
    model: str | None = None
    stream: bool | None = None


_KINDS = {"model": "a string", "stream": "true or false"}

_request_decoder = msgspec.json.Decoder(_Request)
_json = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Routing:
    """What a body says about where it goes and how the answer comes back."""

    model: str
    stream: bool


def read_routing(body: bytes) -> Routing:
    """Read ``model`` and ``stream`` from a request's body. Raises ``InvalidRequest``."""
    request = decode(_request_decoder, body, _KINDS)
    if _may_route_twice(body):
        decode_values(body)  # which refuses that
    if request.model is None:
        raise InvalidRequest(
            "the field 'model' is missing: it names the SageMaker endpoint", param="model"
        )
    return Routing(request.model, bool(request.stream))


def _may_route_twice(body: bytes) -> bool:
    """Whether a key may be there twice of which the container could read the other one."""
    return (
        body.count(b'"model"') > 1
        or body.count(b'"stream"') > 1
        # Letters of ASCII that are escaped, as those of a key could be; nobody else has a reason.
        or b"\\u006" in body
        or b"\\u007" in body
    )


def with_model(body: bytes, model: str) -> bytes:
    """``body`` with ``model`` for its model, and every other byte as it was.

    Raises ``InvalidRequest`` as ``with_values`` does.
    """
    return with_values(body, {"model": json.dumps(model).encode()})


def read_usage(data: bytes) -> Usage | None:
    """The last ``usage`` object in an answer, or in events of a stream; None without one."""
    end, found = len(data), None
    while found is None:
        end = data.rfind(b'"usage"', 0, end)
        if end < 0:
            return None
        found = _USAGE.match(data, end)
    try:
        usage, _ = _json.raw_decode(data[found.end() :].decode(errors="replace"))
    except (ValueError, RecursionError):
        return None
    return Usage.read(usage)


def render(body: bytes, operation: Operation, *, model: str, settings: Settings) -> Rendered:
    """The client's bytes, but for the model's name where the container has its own.

    A stream is asked for its usage, which a client that did not ask is not shown. For a rerank see
    ``reranking``. Raises ``InvalidRequest`` as ``with_values`` and ``with_usage`` do.
    """
    served = settings.served_model
    new = {} if served is None else {"model": json.dumps(served).encode()}
    if operation is Operation.RERANK:
        return reranking.render(body, new)
    if operation not in _STREAMED or not read_stream(body):
        return Rendered([with_values(body, new) if new else body], Relayed())
    body, asks = with_usage(body, new)
    return Rendered([body], OpenAIStream(shows_usage=asks))


_STREAMED = (Operation.CHAT, Operation.COMPLETIONS)


def read_stream(body: bytes) -> bool:
    """Whether a body that ``read_routing`` has read asks for a stream."""
    return bool(_request_decoder.decode(body).stream)


class OpenAIStream(Stream):
    """Whole events, bytes as they came, up to the first that is an error.

    One that ends without saying so must have ended all of its choices.
    """

    def __init__(self, *, shows_usage: bool = True) -> None:
        super().__init__()
        self._shows_usage = shows_usage
        self._splitter = EventSplitter()
        self._choices = Choices()
        self._done = False

    def _receive(self, payload: bytes) -> None:
        try:
            events = self._splitter.feed(payload)
        except EventTooLarge as exc:
            message = "the model's stream has no events"
            raise UpstreamFailed(message, log_message=str(exc)) from exc
        self._pass_on(events)

    def _finish(self) -> None:
        if rest := self._splitter.flush().rstrip():
            if not _is_whole(rest):
                raise UpstreamFailed(ENDED_EARLY)
            self._pass_on(rest + b"\n\n")
        if not self._done:
            self._choices.check_ended()
            self._send(DONE_EVENT)

    def _pass_on(self, events: bytes) -> None:
        position, tells_usage = 0, False
        for line in events.splitlines(keepends=True):
            if line.startswith(b"data:"):
                try:
                    tells_usage |= self._look_at(line[5:].strip())
                except ProxyError:
                    self._send(events[:position])
                    raise
            position += len(line)
        if tells_usage and not self._shows_usage:
            events = without_usage(events)
        if events:
            self._send(events)

    def _look_at(self, data: bytes) -> bool:
        """Whether the usage is told. Raises the failure that is reported."""
        if data == DONE:
            self._done = True
            return False
        try:
            chunk = read_chunk(data)
        except (ValueError, RecursionError):
            if _ERROR.match(data):
                raise UpstreamFailed("the model failed") from None
            return False
        if chunk is None:
            return False
        self._choices.note(chunk.choices)
        self.usage = chunk.usage or self.usage
        return chunk.usage is not None


def _is_whole(event: bytes) -> bool:
    """Whether an event that lacks its empty line lacks nothing else."""
    data = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    try:
        return data == [DONE] or (bool(data) and all(map(read_chunk, data)))
    except (ValueError, RecursionError):
        return False
