"""Makes the events of Anthropic's Messages API of a streamed chat.

One block is open at a time, so what belongs to another waits until the open one is complete. That
is told of a call by its arguments alone: whole JSON, which nothing can follow.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from proxy.apis.chat import Choice, Message, ToolCall, encode
from proxy.apis.messages_answer import Json, ending, head, new_id, thinking, tool_use, usage_json
from proxy.apis.messages_errors import error_json
from proxy.apis.rendering import ChatRenderer
from proxy.errors import ProxyError, UpstreamFailed

_TEXT, _THINKING = "text", "thinking"

_PING = b'event: ping\ndata: {"type":"ping"}\n\n'
_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
_DELTA = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":%b'
_DELTA_END = b"}}\n\n"
_DELTAS = {
    _TEXT: b'{"type":"text_delta","text":',
    _THINKING: b'{"type":"thinking_delta","thinking":',
}
_ARGUMENTS_DELTA = b'{"type":"input_json_delta","partial_json":'
_SIGNATURE_DELTA = b'{"type":"signature_delta","signature":'

# With what whole arguments, an object, end; space may follow.
_LAST = ("}", " ", "\n", "\r", "\t")

# What a block is: a text, reasoning, or the call of this index.
Key = str | int


class _Call:
    """A call of a tool, as far as it is known."""

    def __init__(self) -> None:
        self.id: str | None = None
        self.name: str | None = None
        self.pieces: list[str] = []

    def is_complete(self) -> bool:
        if not self.pieces or not self.pieces[-1].endswith(_LAST):
            return False  # told without reading all of it once for each piece
        try:
            msgspec.json.decode("".join(self.pieces))
        except (ValueError, RecursionError):
            return False
        return True


class MessagesStream(ChatRenderer):
    """From ``message_start`` to ``message_stop``, or ``error``."""

    def __init__(self, model: str, stops: Sequence[str]) -> None:
        """``model`` is the name that the client knows; at ``stops`` it has the model stop."""
        super().__init__()
        self._model = model
        self._stops = stops
        self._id = new_id()
        self._index = -1  # of the last block
        self._open: Key | None = None
        self._delta = b""  # what begins the open block's events
        self._calls: dict[int, _Call] = {}
        self._closed: set[Key] = set()
        self._waiting: list[tuple[Key, str]] = []
        self._last: Choice | None = None
        self._refuses = False

    def end(self) -> bytes:
        """What was waiting for its turn, and the end."""
        self._ensure_begun()
        self._close()
        for key in dict.fromkeys(key for key, _ in self._waiting):
            self._begin_block(key)
            for owner, text in self._waiting:
                if owner == key:
                    self._send_piece(text)
            self._close()
        end = ending(self._last, self._stops, calls=bool(self._calls), refuses=self._refuses)
        self._send("message_delta", delta=end, usage=usage_json(self._usage))
        self._unsent.append(_STOP)
        return self._take_unsent()

    def fail(self, error: ProxyError) -> bytes:
        """The event ``error``."""
        self._unsent.clear()
        return b"event: error\ndata: %b\n\n" % encode(error_json(error))

    # --- what the model says -----------------------------------------------------------------

    def _read(self, delta: Message) -> None:
        if thought := delta.reasoning_content or delta.reasoning:
            self._take(_THINKING, thought)
        if text := delta.content:
            if self._open == _TEXT and not self._waiting:  # as nearly always
                self._unsent.append(self._delta + encode(text) + _DELTA_END)
            else:
                self._take(_TEXT, text)
        if delta.refusal:
            self._refuses = True
            self._take(_TEXT, delta.refusal)
        if delta.tool_calls:
            for piece in delta.tool_calls:
                self._read_call(piece)

    def _finish(self, choice: Choice) -> None:
        self._last = choice

    def _read_call(self, piece: ToolCall) -> None:
        index = self._order.index(piece)
        call = self._calls.get(index)
        if call is None:
            call = self._calls[index] = _Call()
        call.id = call.id or piece.id
        if piece.function is not None:
            call.name = call.name or piece.function.name
            text = piece.function.arguments
            self._take(index, text or "", is_said=text is not None)

    def _take(self, key: Key, text: str, *, is_said: bool = True) -> None:
        if key != self._open:
            if isinstance(key, int) and key in self._closed and not text.strip():
                return
            if self._waiting or self._is_incomplete(self._open) or self._is_nameless(key):
                self._waiting.append((key, text))
                return
            self._close()
            self._begin_block(key)
        if is_said:
            self._send_piece(text)
        if self._waiting and not self._is_incomplete(self._open):
            waiting, self._waiting = self._waiting, []
            for owner, said in waiting:
                self._take(owner, said)

    def _is_incomplete(self, key: Key | None) -> bool:
        return isinstance(key, int) and not self._calls[key].is_complete()

    def _is_nameless(self, key: Key) -> bool:
        return isinstance(key, int) and not self._calls[key].name

    # --- blocks ------------------------------------------------------------------------------

    def _begin(self) -> None:
        message = head(self._id, self._model, [])
        message |= {"stop_reason": None, "stop_sequence": None, "usage": usage_json(self._usage)}
        self._send("message_start", message=message)

    def _begin_block(self, key: Key) -> None:
        if isinstance(key, int):
            call = self._calls[key]
            if not call.name or key in self._closed:
                raise UpstreamFailed("the model's calls of tools cannot be told apart")
            block = tool_use(call.id, call.name, {})
            kind = _ARGUMENTS_DELTA
        else:
            block = thinking("", "") if key == _THINKING else {"type": "text", "text": ""}
            kind = _DELTAS[key]
        self._index += 1
        self._open = key
        self._delta = _DELTA % (self._index, kind)
        self._send("content_block_start", index=self._index, content_block=block)
        if self._index == 0:
            self._unsent.append(_PING)

    def _send_piece(self, text: str) -> None:
        if isinstance(self._open, int) and text:
            self._calls[self._open].pieces.append(text)
        self._unsent.append(self._delta + encode(text) + _DELTA_END)

    def _close(self) -> None:
        if self._open is None:
            return
        if self._open == _THINKING:
            delta = _DELTA % (self._index, _SIGNATURE_DELTA)
            self._unsent.append(delta + encode(self._id) + _DELTA_END)
        self._send("content_block_stop", index=self._index)
        self._closed.add(self._open)
        self._open = None

    def _send(self, kind: str, **fields: Json | int) -> None:
        event = encode({"type": kind, **fields})
        self._unsent.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), event))
