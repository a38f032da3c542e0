"""OpenAI's Responses API, as a chat."""

from __future__ import annotations

from functools import partial

from proxy.apis import responses_answer as answer
from proxy.apis.base import Api, Translated
from proxy.apis.responses_request import chat_of, echo_of, read_request
from proxy.apis.responses_stream import ResponsesStream
from proxy.apis.responses_tools import Tools
from proxy.dialects.bodies import decode_values


class _Responses(Api):
    """Answers, and stores nothing."""

    def to_chat(self, body: bytes) -> Translated:
        request = read_request(body)
        tools = Tools(request)
        echo = echo_of(request, decode_values(body))
        return Translated(
            chat_of(request, tools),
            partial(answer.whole, echo=echo, tools=tools),
            partial(ResponsesStream, echo, tools),
        )


RESPONSES: Api = _Responses()
