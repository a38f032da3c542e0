"""What the renderers of a streamed chat have in common: they read chunks, and collect events."""

from __future__ import annotations

from abc import abstractmethod

from proxy.apis.base import ApiStream
from proxy.apis.chat import CallOrder, ChatUsage, Choice, Message, read_chunks


class ChatRenderer(ApiStream):
    """Subclasses say what comes of each delta, and of the end."""

    def __init__(self) -> None:
        self._unsent: list[bytes] = []
        self._begun = False
        self._usage: ChatUsage | None = None
        self._order = CallOrder()

    def feed(self, events: bytes) -> bytes:
        """Their events; several of a chat's may become none or one, and one several."""
        for chunk in read_chunks(events):
            if chunk.usage is not None:
                self._usage = chunk.usage
            if not self._begun:
                self._ensure_begun()
            if (choice := chunk.choice) is not None:
                if (delta := choice.delta) is not None:
                    self._read(delta)
                if choice.finish_reason is not None:
                    self._finish(choice)
        return self._take_unsent()

    def _ensure_begun(self) -> None:
        if not self._begun:
            self._begun = True
            self._begin()

    @abstractmethod
    def _begin(self) -> None:
        """Say that the answer begins."""

    @abstractmethod
    def _read(self, delta: Message) -> None:
        """Take what the model says next."""

    @abstractmethod
    def _finish(self, choice: Choice) -> None:
        """Note why the model stops."""

    def _take_unsent(self) -> bytes:
        events = b"".join(self._unsent)
        self._unsent.clear()
        return events
