"""Items of a streamed answer of the Responses API, with the events of their beginnings and ends."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from proxy.apis.chat import encode
from proxy.apis.responses_answer import (
    IN_PROGRESS,
    call_item,
    message_item,
    new_call_id,
    reasoning_item,
    reasoning_part,
    refusal_part,
    text_part,
)

Json = dict[str, Any]

# With what whole arguments, an object, end; space may follow.
_LAST = ("}", " ", "\n", "\r", "\t")

# An event's type, and its fields but for that and its number.
Event = tuple[str, Json]


@dataclass(frozen=True, slots=True)
class TextKind:
    """A kind of text: how its events and its ids are named, and what its item and part are."""

    events: str
    prefix: str
    field: str  # that has the text at its end
    part: Callable[[str], Json]
    item: Callable[[str, str, list[Json]], Json]
    more: Json  # in the events that carry text


TEXT = TextKind(
    "response.output_text", "msg", "text", text_part, message_item, more={"logprobs": []}
)
REFUSAL = TextKind("response.refusal", "msg", "refusal", refusal_part, message_item, more={})
REASONING = TextKind(
    "response.reasoning_text", "rs", "text", reasoning_part, reasoning_item, more={}
)


class ItemInParts(ABC):
    """An item at ``index`` of the output. ``status`` changes when it ends."""

    def __init__(self, item_id: str, index: int, delta_event: str, place: Json) -> None:
        """``place`` has the fields of its events that say which item and part they are of."""
        self.index = index
        self.status = IN_PROGRESS
        self._id = item_id
        self._place = place
        self._pieces: list[str] = []
        # All of an event with more text, but for its number and the text.
        fixed = encode({"type": delta_event, **place}).removesuffix(b"}").replace(b"%", b"%%")
        self._delta = b"event: %b\ndata: %b" % (delta_event.encode(), fixed)
        self._delta += b',"sequence_number":%d,"delta":%b}\n\n'

    @property
    def is_open(self) -> bool:
        """Whether there may be more of it."""
        return self.status == IN_PROGRESS

    def more(self, text: str, number: int) -> bytes:
        """The event with more of its text."""
        self._pieces.append(text)
        return self._delta % (number, encode(text))

    def beginning(self) -> Iterator[Event]:
        """The events before its text."""
        yield self._item_event("added")

    def ending(self, status: str) -> Iterator[Event]:
        """The events behind its text."""
        self.status = status
        yield self._item_event("done")

    @abstractmethod
    def json(self) -> Json:
        """The item as it is now."""

    def _item_event(self, what: str) -> Event:
        return f"response.output_item.{what}", {"output_index": self.index, "item": self.json()}

    def _text(self) -> str:
        return "".join(self._pieces)


class TextInParts(ItemInParts):
    """A message, or reasoning, of one text."""

    def __init__(self, kind: TextKind, item_id: str, index: int) -> None:
        self.kind = kind
        self._part_place = {"item_id": item_id, "output_index": index, "content_index": 0}
        super().__init__(item_id, index, f"{kind.events}.delta", {**self._part_place, **kind.more})

    def beginning(self) -> Iterator[Event]:
        """With that of its part."""
        yield from super().beginning()
        yield "response.content_part.added", {**self._part_place, "part": self.kind.part("")}

    def ending(self, status: str) -> Iterator[Event]:
        """With that of its text and its part."""
        text = self._text()
        yield f"{self.kind.events}.done", {**self._place, self.kind.field: text}
        yield "response.content_part.done", {**self._part_place, "part": self.kind.part(text)}
        yield from super().ending(status)

    def json(self) -> Json:
        """Without content until there is some."""
        content = [self.kind.part(self._text())] if self._pieces or not self.is_open else []
        return self.kind.item(self._id, self.status, content)


class CallInParts(ItemInParts):
    """A call of a function."""

    def __init__(
        self, item_id: str, index: int, call_id: str | None, name: tuple[str | None, str]
    ) -> None:
        place = {"item_id": item_id, "output_index": index}
        super().__init__(item_id, index, "response.function_call_arguments.delta", place)
        self._call_id = call_id or new_call_id()
        self._name = name

    @property
    def is_whole(self) -> bool:
        """Whether its arguments are whole JSON, which nothing can follow."""
        if not self._pieces or not self._pieces[-1].endswith(_LAST):
            return False  # told without reading all of it once for each item
        try:
            msgspec.json.decode(self._text())
        except (ValueError, RecursionError):
            return False
        return True

    def ending(self, status: str) -> Iterator[Event]:
        """With that of its arguments."""
        done = {**self._place, "arguments": self._text()}
        yield "response.function_call_arguments.done", done
        yield from super().ending(status)

    def json(self) -> Json:
        """As it is now."""
        return call_item(self._id, self.status, self._call_id, self._name, self._text())
