"""Anthropic's Messages API, as a chat."""

from __future__ import annotations

from functools import partial

from proxy.apis import messages_answer as answer
from proxy.apis.base import Api, Translated
from proxy.apis.messages_request import chat_of, count_chat_of, read_count_request, read_request
from proxy.apis.messages_stream import MessagesStream


class _Messages(Api):
    """Answers."""

    def to_chat(self, body: bytes) -> Translated:
        request = read_request(body)
        stops = tuple(request.stop_sequences or ())
        return Translated(
            chat_of(request),
            partial(answer.whole, model=request.model, stops=stops),
            partial(MessagesStream, request.model, stops),
        )


class _Count(Api):
    """Counts: no container has a route for it, but each that tells the usage has counted."""

    def to_chat(self, body: bytes) -> Translated:
        request = read_count_request(body)
        return Translated(
            count_chat_of(request), answer.count, partial(MessagesStream, request.model, ())
        )


MESSAGES: Api = _Messages()
COUNT: Api = _Count()
