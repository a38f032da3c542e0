"""A route of another API: the body as a chat's, and the chat's answer in the shapes of the API."""

from __future__ import annotations

import asyncio
from typing import ClassVar

from proxy.answer import Answer
from proxy.apis.base import Api, ApiStream, Translated
from proxy.apis.chat import as_chunks
from proxy.dialects import openai
from proxy.dialects.base import Operation
from proxy.errors import ProxyError
from proxy.handlers.base import JSON
from proxy.handlers.operation import LARGE_BYTES, OperationHandler, read_bounded
from proxy.models import Target


class TranslatedHandler(OperationHandler):
    """Subclasses name their API, and format errors as it does.

    All else is as for a chat: limits, fallbacks, waking, long requests, log, metrics, traces.
    """

    api: ClassVar[Api]
    operation = Operation.CHAT

    _translated: Translated
    _rendering: ApiStream

    async def route_by_body(self) -> tuple[list[Target], bytes, bool]:
        """As it is, with the body as a chat's. Raises ``InvalidRequest`` also from ``to_chat``."""
        targets, body, streams = await super().route_by_body()
        self._translated = self.api.to_chat(body)
        if streams:
            self._rendering = self._translated.stream()
        return targets, self._translated.chat, streams

    # --- a whole answer ----------------------------------------------------------------------

    async def send_body(self, body: bytes) -> None:
        """Send a chat completion in the API's shape."""
        render = self._translated.whole
        if len(body) < LARGE_BYTES:
            rendered = render(body)
        else:
            rendered = await asyncio.to_thread(render, body)
        self.set_header("Content-Type", JSON)
        self.write(rendered)

    async def send_relayed(self, answer: Answer) -> None:
        """Send an answer that is a chat completion already."""
        async with answer:
            body = await read_bounded(answer.chunks())
        self.note_usage(openai.read_usage(body[-openai.USAGE_TAIL_BYTES :]))
        await self.send_body(body)

    # --- a stream ----------------------------------------------------------------------------

    async def send_whole_for_stream(self, answer: Answer, content_type: str) -> None:
        """Send the events of a stream that says all at once."""
        body = await read_bounded(answer.payloads())
        self.note_usage(openai.read_usage(body[-openai.USAGE_TAIL_BYTES :]))
        events = as_chunks(body)
        self.begin_events()
        self.write(self.show_events(events) + self.end_events(None))

    def show_events(self, events: bytes) -> bytes:
        """The API's events for some of the chat's."""
        return self._rendering.feed(events)

    def end_events(self, error: ProxyError | None) -> bytes:
        """The API's end, or its event for a failure."""
        return self._rendering.fail(error) if error else self._rendering.end()

    def fail_late(self, error: ProxyError) -> None:
        """End a stream with the API's event for a failure."""
        if self.late_ending is None:
            super().fail_late(error)
        else:
            self.write(self.end_events(error))
