"""What every dialect has in common: operations, settings, and the readers of a container's answer.

A dialect is a module with ``render``. It turns a client's body into the container's, and says how
to read what comes back: a ``Whole`` answer or a ``Stream``.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from proxy import sse
from proxy.errors import InvalidRequest, ProxyError, UpstreamFailed


class Operation(StrEnum):
    """What a client asks for, told apart by the route."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    EMBEDDINGS = "embeddings"
    RERANK = "rerank"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator says about one model.

    ``served_model`` is what the container calls it; None leaves the client's name in the body.
    ``batch_limit`` is how many texts the container takes at once, ``dimensions`` whether it can
    shorten vectors, ``pooling`` how to make one vector of a text out of its tokens' vectors, and
    ``chat_template`` which one the model was trained with.
    """

    served_model: str | None = None
    batch_limit: int = 32
    dimensions: bool = False
    pooling: str = "mean"
    chat_template: str | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts as the container reported them; None where it did not."""

    prompt_tokens: int | None
    completion_tokens: int | None

    @classmethod
    def read(cls, counts: Mapping[str, object]) -> Usage:
        """The counts of OpenAI's usage object. A sum alone, as of a rerank, is all the prompt's."""
        prompt, completion = counts.get("prompt_tokens"), counts.get("completion_tokens")
        if prompt is None and completion is None:
            prompt = counts.get("total_tokens")
        return cls(count(prompt), count(completion))


def count(value: object) -> int | None:
    """A number of tokens; None if it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


class Relayed:
    """Reads nothing: the container's answer is the client's, and goes on as it arrives."""

    usage: Usage | None = None


class Whole(ABC):
    """Makes one answer of the container's answers to each of the bodies.

    ``usage`` is set by the end, if the container tells it.
    """

    usage: Usage | None = None

    @abstractmethod
    def take(self, number: int, body: bytes) -> None:
        """Read the answer to the body of this number, of which no more is kept than is needed.

        They may come in any order. As it may take long, it may be called in a thread, for several
        at once. Raises ``UpstreamFailed`` if the answer is not what the container documents, and
        what a failure in it says.
        """

    @abstractmethod
    def end(self) -> bytes:
        """OpenAI's answer, after all have been taken. Raises ``ProxyError``."""


class Stream(ABC):
    """Reads an answer that comes in pieces, and renders server-sent events.

    Once ``error`` is set, its event has been rendered and nothing follows. ``usage`` is set once
    the container has told it.
    """

    usage: Usage | None = None
    error: ProxyError | None = None

    def __init__(self) -> None:
        self._unsent: list[bytes] = []

    def feed(self, payload: bytes) -> bytes:
        """The events to send now, after bytes cut anywhere; empty when there is none yet."""
        if self.error is None:
            try:
                self._receive(payload)
            except ProxyError as error:
                self._fail(error)
        return self._take_unsent()

    def end(self) -> bytes:
        """The events still to send when the container's stream is over."""
        if self.error is None:
            try:
                self._finish()
            except ProxyError as error:
                self._fail(error)
        return self._take_unsent()

    @abstractmethod
    def _receive(self, payload: bytes) -> None:
        """Read bytes and ``_send`` what they make. Raises ``ProxyError``."""

    @abstractmethod
    def _finish(self) -> None:
        """Read what is left and ``_send`` the end. Raises ``ProxyError``."""

    def _send(self, events: bytes) -> None:
        self._unsent.append(events)

    def _fail(self, error: ProxyError) -> None:
        self.error = error
        self._send(sse.event(json.dumps(error.to_openai()).encode()))

    def _take_unsent(self) -> bytes:
        events = b"".join(self._unsent)
        self._unsent.clear()
        return events


@dataclass(frozen=True, slots=True)
class Rendered:
    """The bodies to send, and the reader of what is answered.

    There are several where the client asked for more at once than the container takes; for a
    ``Stream`` there is one.
    """

    bodies: list[bytes]
    reader: Whole | Stream | Relayed


class Dialect(Protocol):
    """How a container speaks."""

    def render(
        self, body: bytes, operation: Operation, *, model: str, settings: Settings
    ) -> Rendered:
        """The container's bodies for a client's, which names ``model``.

        Raises ``InvalidRequest`` for what the container can't do.
        """


def refuse_operation(dialect: str, operation: str) -> InvalidRequest:
    """The error for an operation that the dialect doesn't have."""
    return InvalidRequest(
        f"this model's container speaks the dialect {dialect!r}, which has no {operation}",
        param="model",
    )


def refuse_field(dialect: str, name: str) -> InvalidRequest:
    """The error for a field that the dialect can't honour."""
    return InvalidRequest(
        f"this model's container speaks the dialect {dialect!r}, which can't honour the "
        f"field {name[:100]!r}",
        param=name[:100],
    )


def unexpected(dialect: str, what: str) -> UpstreamFailed:
    """The error for an answer that is not as the container's documentation has it."""
    return UpstreamFailed(
        f"the model's answer is not one of the dialect {dialect!r}: {what}",
        log_message=f"the container's answer is not one of the dialect {dialect!r}: {what}; "
        "the setting 'dialect' of the model may be wrong",
    )
