"""Reads the answers of OpenAI's chat, whole and streamed, for the APIs that are made of them.

Text that a model reasons with is ``reasoning_content`` or, in newer servers, ``reasoning``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from proxy import sse
from proxy.dialects.base import count
from proxy.dialects.failures import find_failure
from proxy.errors import UpstreamFailed

T = TypeVar("T")

DONE = b"[DONE]"

_NO_CHAT = "the model's answer is not one to a chat"

encode = msgspec.json.Encoder().encode


class Function(msgspec.Struct):
    """A call's function, or in a stream a piece of it."""

    name: str | None = None
    arguments: str | None = None


class ToolCall(msgspec.Struct):
    """A call, or in a stream a piece of the call of this index."""

    index: int | None = None
    id: str | None = None
    function: Function | None = None


class Message(msgspec.Struct):
    """What the model says, or in a stream what it says next."""

    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None

    @property
    def thought(self) -> str | None:
        """What the model reasons."""
        return self.reasoning_content or self.reasoning


class Choice(msgspec.Struct):
    """One of the answers; the APIs ask for one.

    ``stop_reason`` of vLLM and ``matched_stop`` of SGLang tell the stop sequence that was met.
    """

    index: int = 0
    message: Message | None = None
    delta: Message | None = None
    finish_reason: str | None = None
    stop_reason: object = None
    matched_stop: object = None

    @property
    def stop_sequence(self) -> str | None:
        """What the model was stopped by, where the container tells."""
        for value in (self.stop_reason, self.matched_stop):
            if isinstance(value, str):
                return value
        return None


class _Details(msgspec.Struct):
    cached_tokens: object = None
    reasoning_tokens: object = None


class ChatUsage(msgspec.Struct):
    """The counts as the container told them."""

    prompt: object = msgspec.field(default=None, name="prompt_tokens")
    completion: object = msgspec.field(default=None, name="completion_tokens")
    prompt_details: _Details | None = msgspec.field(default=None, name="prompt_tokens_details")
    completion_details: _Details | None = msgspec.field(
        default=None, name="completion_tokens_details"
    )

    @property
    def tells_prompt(self) -> bool:
        """Whether the container has counted the prompt."""
        return count(self.prompt) is not None

    @property
    def prompt_tokens(self) -> int:
        """All of the prompt's, cached ones among them; 0 if it is not told."""
        return count(self.prompt) or 0

    @property
    def completion_tokens(self) -> int:
        """All of the answer's, reasoning among them; 0 if it is not told."""
        return count(self.completion) or 0

    @property
    def cached_tokens(self) -> int:
        """Those of the prompt that were in the container's cache; never more than it has."""
        told = self.prompt_details and count(self.prompt_details.cached_tokens)
        return min(told or 0, self.prompt_tokens)

    @property
    def reasoning_tokens(self) -> int:
        """Those of the answer that were reasoning."""
        return (self.completion_details and count(self.completion_details.reasoning_tokens)) or 0


class Chat(msgspec.Struct):
    """A completion, or a chunk of a streamed one."""

    choices: list[Choice] = []
    usage: ChatUsage | None = None
    error: object = None

    @property
    def choice(self) -> Choice | None:
        """The first choice; None if there is none, as beside the usage."""
        for choice in self.choices:
            if not choice.index:
                return choice
        return None


_decode = msgspec.json.Decoder(Chat).decode


def read_completion(body: bytes) -> tuple[Chat, Choice, Message]:
    """A whole answer, its choice and message.

    Raises ``UpstreamFailed`` if it is none, and the failure that it reports.
    """
    chat = _read(body)
    choice = chat.choice
    if chat.error is not None or choice is None or choice.message is None:
        try:
            said = msgspec.json.decode(body)  # all of it, as what has been read was not
        except (ValueError, RecursionError) as exc:
            raise _no_chat(exc) from exc
        if failure := find_failure(said):
            raise failure
        raise UpstreamFailed(_NO_CHAT)
    return chat, choice, choice.message


def read_chunks(events: bytes) -> Iterator[Chat]:
    """The chunks in whole events, but for those that are errors. Raises ``UpstreamFailed``."""
    for line in events.splitlines():
        if line.startswith(b"data:"):
            try:
                chunk = _decode(line[5:])
            except (ValueError, RecursionError) as exc:
                if line[5:].strip() in (b"", DONE):
                    continue
                raise _no_chat(exc) from exc
            if chunk.error is None:
                yield chunk


def as_chunks(body: bytes) -> bytes:
    """The events of a stream that says at once what a whole answer says.

    Some containers answer so where a stream was asked for. Raises as ``read_completion``.
    """
    chat, choice, message = read_completion(body)
    for index, call in enumerate(message.tool_calls or ()):
        call.index = index
    choice.message, choice.delta = None, message
    return sse.event(encode(chat)) + sse.event(DONE)


class CallOrder:
    """Tells which call each piece in a stream belongs to.

    Some servers give their calls no index: a new id, or a name, begins one.
    """

    def __init__(self) -> None:
        self._ids: dict[int, str | None] = {}

    def index(self, piece: ToolCall) -> int:
        """The index of the piece's call."""
        index = piece.index
        if index is None:
            known = [at for at, own in self._ids.items() if piece.id and own == piece.id]
            begins = piece.id or (piece.function and piece.function.name)
            last = max(self._ids, default=-1)
            index = known[0] if known else last + 1 if begins or last < 0 else last
        self._ids.setdefault(index, piece.id)
        return index


def _read(data: bytes) -> Chat:
    try:
        return _decode(data)
    except (ValueError, RecursionError) as exc:
        raise _no_chat(exc) from exc


def _no_chat(exc: Exception) -> UpstreamFailed:
    return UpstreamFailed(_NO_CHAT, log_message=f"{_NO_CHAT}: {exc}")
