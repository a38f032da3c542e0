"""Makes the events of OpenAI's Responses API of a streamed chat.

An item ends when another begins, but for a call of a function whose arguments are not yet whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from proxy.apis.chat import Choice, Message, ToolCall, encode
from proxy.apis.rendering import ChatRenderer
from proxy.apis.responses_answer import (
    COMPLETED,
    FAILED,
    IN_PROGRESS,
    INCOMPLETE,
    Head,
    Json,
    ending,
)
from proxy.apis.responses_items import (
    REASONING,
    REFUSAL,
    TEXT,
    CallInParts,
    Event,
    ItemInParts,
    TextInParts,
    TextKind,
)
from proxy.apis.responses_tools import Tools
from proxy.errors import ProxyError, UpstreamFailed

_NAMELESS = "the model calls a function without its name"


class _Call:
    """What is known of a call before it becomes an item."""

    def __init__(self) -> None:
        self.id: str | None = None
        self.unsent = ""
        self.item: CallInParts | None = None


class ResponsesStream(ChatRenderer):
    """From ``response.created`` to ``response.completed``, ``incomplete`` or ``failed``."""

    def __init__(self, echo: Mapping[str, Any], tools: Tools) -> None:
        """``echo`` is what the answer says of its request."""
        super().__init__()
        self._head = Head(echo)
        self._tools = tools
        self._number = 0  # of the next event
        self._items: list[ItemInParts] = []
        self._open: list[ItemInParts] = []  # of them
        self._text: TextInParts | None = None  # the one that is open
        self._calls: dict[int, _Call] = {}
        self._finish_reason: str | None = None

    def end(self) -> bytes:
        """The ends of the items that are open, and of the answer."""
        self._ensure_begun()
        if any(call.item is None for call in self._calls.values()):
            raise UpstreamFailed(_NAMELESS)
        if not self._items:
            self._begin_text(TEXT)
        status, reason = ending(self._finish_reason)
        for item in self._open:
            self._send_all(item.ending(status if item is self._items[-1] else COMPLETED))
        self._send_response(status, reason=reason)
        return self._take_unsent()

    def fail(self, error: ProxyError) -> bytes:
        """The event ``response.failed``, which clients read behind those of the beginning."""
        self._ensure_begun()
        for item in self._open:
            item.status = INCOMPLETE
        self._send_response(FAILED, error=error)
        return self._take_unsent()

    # --- what the model says -----------------------------------------------------------------

    def _read(self, delta: Message) -> None:
        if thought := delta.thought:
            self._take(REASONING, thought)
        if delta.content:
            self._take(TEXT, delta.content)
        if delta.refusal:
            self._take(REFUSAL, delta.refusal)
        if delta.tool_calls:
            for piece in delta.tool_calls:
                self._read_call(piece)

    def _take(self, kind: TextKind, text: str) -> None:
        item = self._text
        if item is None or item.kind is not kind:
            item = self._begin_text(kind)
        self._unsent.append(item.more(text, self._number))
        self._number += 1

    def _finish(self, choice: Choice) -> None:
        self._finish_reason = choice.finish_reason

    def _read_call(self, piece: ToolCall) -> None:
        index = self._order.index(piece)
        call = self._calls.get(index)
        if call is None:
            call = self._calls[index] = _Call()
        call.id = call.id or piece.id
        name = piece.function and piece.function.name
        call.unsent += (piece.function and piece.function.arguments) or ""
        if call.item is None and name:
            at = len(self._items)
            names = self._tools.known_as(name)
            call.item = CallInParts(self._head.item_id("fc", at), at, call.id, names)
            self._begin_item(call.item)
        if call.item is not None and call.unsent:
            if call.item.is_open:
                self._unsent.append(call.item.more(call.unsent, self._number))
                self._number += 1
            elif call.unsent.strip():
                raise UpstreamFailed("the model's calls of functions cannot be told apart")
            call.unsent = ""

    # --- events ------------------------------------------------------------------------------

    def _begin(self) -> None:
        for event in ("response.created", "response.in_progress"):
            self._send(event, {"response": self._head.response(IN_PROGRESS, [])})

    def _begin_text(self, kind: TextKind) -> TextInParts:
        at = len(self._items)
        item = TextInParts(kind, self._head.item_id(kind.prefix, at), at)
        self._begin_item(item)
        self._text = item
        return item

    def _begin_item(self, item: ItemInParts) -> None:
        self._text = None
        unfinished: list[ItemInParts] = []
        for other in self._open:
            if isinstance(other, CallInParts) and not other.is_whole:
                unfinished.append(other)
            else:
                self._send_all(other.ending(COMPLETED))
        self._open = [*unfinished, item]
        self._items.append(item)
        self._send_all(item.beginning())

    def _send_response(
        self, status: str, *, reason: str | None = None, error: ProxyError | None = None
    ) -> None:
        output = [item.json() for item in self._items]
        response = self._head.response(status, output, self._usage, reason=reason, error=error)
        self._send(f"response.{status}", {"response": response})

    def _send_all(self, events: Iterable[Event]) -> None:
        for kind, fields in events:
            self._send(kind, fields)

    def _send(self, kind: str, fields: Json) -> None:
        event = encode({"type": kind, **fields, "sequence_number": self._number})
        self._unsent.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), event))
        self._number += 1
