"""Makes a whole chat completion of a streamed one, for answers that take longer than one call may.

What is not known by name is merged by its kind: texts are joined, lists extended, objects merged,
and of all else the last value counts.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from proxy.dialects.chunks import ENDED_EARLY
from proxy.dialects.lines import DONE, PayloadSplitter
from proxy.dialects.stream_options import with_usage
from proxy.errors import UpstreamFailed

# Fields that name something come whole, and some servers repeat them.
_WHOLE_TEXTS = frozenset({"id", "name", "object", "role", "type"})

# Fields that come in pieces, of which all may be the same.
_TEXTS_IN_PIECES = frozenset({"arguments", "content", "reasoning", "reasoning_content", "refusal"})

# A stream is larger than the answer that is made of it, and about as large as that in memory.
MOST_STREAM_BYTES = 256 * 1024 * 1024

_NO_CHUNK = "the model's stream holds something that is no chunk"


def as_stream(body: bytes) -> bytes:
    """The same request, but for a stream that tells the usage. Raises ``InvalidRequest``."""
    return with_usage(body, {"stream": b"true"})[0]


class ChatAssembler:
    """Collects the events of a streamed chat completion, among which is no error."""

    def __init__(self, most_bytes: int = MOST_STREAM_BYTES) -> None:
        self._left = most_bytes
        self._splitter = PayloadSplitter()
        self._head: dict[str, object] = {}
        self._choices: dict[int, dict[str, object]] = {}
        self._usage: object = None
        self._done = False

    def feed(self, events: bytes) -> None:
        """Take bytes of the stream, cut anywhere.

        Raises ``UpstreamFailed`` if they hold something else than chunks, or have become too many.
        """
        self._left -= len(events)
        if self._left < 0:
            raise UpstreamFailed("the model's answer is too large to be put together")
        for payload in self._splitter.feed(events):
            self._take(payload)

    def end(self) -> bytes:
        """The whole answer. Raises ``UpstreamFailed`` if the stream has ended early."""
        for payload in self._splitter.flush():
            self._take(payload)
        finished = [choice.get("finish_reason") is not None for choice in self._choices.values()]
        if not self._done or not finished or not all(finished):
            raise UpstreamFailed(ENDED_EARLY)
        answer = {
            **self._head,
            "object": "chat.completion",
            "choices": [_whole_choice(index, choice) for index, choice in self._in_order()],
        }
        if self._usage is not None:
            answer["usage"] = self._usage
        return msgspec.json.encode(answer)

    def _in_order(self) -> list[tuple[int, dict[str, object]]]:
        return sorted(self._choices.items())

    def _take(self, payload: bytes) -> None:
        if payload == DONE:
            self._done = True
            return
        try:
            chunk = msgspec.json.decode(payload)
        except (ValueError, RecursionError) as exc:
            raise UpstreamFailed("the model's stream holds something that is no JSON") from exc
        try:
            self._merge(chunk)
        except (LookupError, TypeError, AttributeError) as exc:
            raise UpstreamFailed(_NO_CHUNK) from exc

    def _merge(self, chunk: dict[str, object]) -> None:
        choices = chunk.pop("choices")
        usage = chunk.pop("usage", None)
        for key, value in chunk.items():
            if value is not None or key not in self._head:
                self._head[key] = value
        if isinstance(usage, dict):
            self._usage = usage
        if not isinstance(choices, list):
            raise TypeError("no list of choices")
        for choice in choices:
            index = choice.pop("index", 0)
            if type(index) is not int:
                raise TypeError("no index")
            _merge_into(self._choices.setdefault(index, {}), choice)


class _Text(list[str]):
    """A text in pieces, joined at the end: to join at each piece takes the square of the time."""


class _Items(list[object]):
    """A list of our own, which may grow."""


class _Indexed(dict[int, dict[str, object]]):
    """A list of objects that come in pieces, each with its index."""


def _merge_into(whole: dict[str, object], pieces: dict[str, object]) -> None:
    for key, value in pieces.items():
        known = whole.get(key)
        if value is None:
            whole.setdefault(key, None)
        elif isinstance(value, dict):
            if not isinstance(known, dict):
                known = whole[key] = {}
            _merge_into(known, value)
        elif isinstance(value, list):
            whole[key] = _extended(key, known, value)
        elif isinstance(value, str) and key not in _WHOLE_TEXTS and not key.endswith("_reason"):
            if not isinstance(known, _Text):
                known = whole[key] = _Text()
            known.append(value)
        elif key not in _WHOLE_TEXTS or not known:
            whole[key] = value


def _extended(key: str, known: object, items: list[object]) -> object:
    if items and all(isinstance(item, dict) for item in items):
        pieces: list[dict[str, object]] = items  # type: ignore[assignment]
        if key == "tool_calls" or all(type(item.get("index")) is int for item in pieces):
            indexed = known if isinstance(known, _Indexed) else _Indexed()
            for item in pieces:
                _merge_into(indexed.setdefault(_index(indexed, item), {}), item)
            return indexed
    known = known if isinstance(known, _Items) else _Items()
    known += items
    return known


def _index(calls: _Indexed, piece: dict[str, object]) -> int:
    """Where a piece belongs. Some servers give tool calls no index: a new id or name begins one."""
    index = piece.pop("index", None)
    if type(index) is int:
        return index
    own = piece.get("id")
    if own and (same := [at for at, call in calls.items() if call.get("id") == own]):
        return same[0]
    function = piece.get("function")
    begins = own or (isinstance(function, Mapping) and function.get("name"))
    last = max(calls, default=-1)
    return last + 1 if begins or last < 0 else last


def _whole_choice(index: int, choice: dict[str, object]) -> dict[str, object]:
    pieces = _joined({key: value for key, value in choice.items() if key != "delta"})
    message = _joined(choice.get("delta", {}))
    if not isinstance(pieces, dict) or not isinstance(message, dict):
        raise UpstreamFailed(_NO_CHUNK)
    # A stream opens with an empty text even where only tool calls follow.
    if not message.get("content"):
        message["content"] = None if message.get("tool_calls") else message.get("content", "")
    message = {**message, "role": message.get("role") or "assistant"}
    return {"index": index, "message": message, **pieces}


def _joined(value: object, key: str = "") -> object:
    if isinstance(value, _Text):
        # A name that is not known as one may come whole each time.
        repeats = key not in _TEXTS_IN_PIECES and len({*value}) == 1
        return value[0] if repeats else "".join(value)
    if isinstance(value, _Indexed):
        return [_joined(item) for _, item in sorted(value.items())]
    if isinstance(value, dict):
        return {name: _joined(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_joined(item) for item in value]
    return value
