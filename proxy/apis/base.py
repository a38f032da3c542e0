"""What every API has in common: its request as a chat's, and the renderers of the chat's answer.

An API is a module with ``to_chat``. There is one shape between the APIs and the containers: that of
OpenAI's chat, which every dialect takes and gives. No module here knows of HTTP, nor of a dialect.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from proxy.errors import ProxyError


class ApiStream(ABC):
    """Renders one streamed chat as the events of the API. Its ids are the same throughout."""

    @abstractmethod
    def feed(self, events: bytes) -> bytes:
        """The events to send now; empty when there is none yet.

        ``events`` are whole server-sent events of a chat, any number of them, as the readers of
        ``proxy.dialects`` give them. One that is an error is passed over, for who feeds knows the
        failure itself and calls ``fail``. Raises ``UpstreamFailed`` for what is no chunk.
        """

    @abstractmethod
    def end(self) -> bytes:
        """The events still to send when the chat is over. Raises ``UpstreamFailed``."""

    @abstractmethod
    def fail(self, error: ProxyError) -> bytes:
        """The event that ends the stream in a failure, at whatever point; nothing follows it."""


@dataclass(frozen=True, slots=True)
class Translated:
    """A request as a chat's body, and what renders the answer to it.

    ``chat`` keeps the client's ``model`` and ``stream``; one that streams asks for its usage.
    ``whole`` makes the API's answer of a chat completion, and raises ``UpstreamFailed`` if it is
    none. ``stream`` makes the renderer of one stream.
    """

    chat: bytes
    whole: Callable[[bytes], bytes]
    stream: Callable[[], ApiStream]


class Api(Protocol):
    """How clients speak."""

    def to_chat(self, body: bytes) -> Translated:
        """The chat that a client's body asks for.

        Raises ``InvalidRequest``, whose ``param`` names the field, for what a chat cannot say.
        """
