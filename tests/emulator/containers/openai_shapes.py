"""The JSON that vLLM answers with: completions, their chunks, usage and errors."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from tests.emulator.containers.tools import ToolCall

# Fixed, so that one request has one answer, byte for byte.
_CREATED = 1_767_225_600

Json = dict[str, Any]


@dataclass(frozen=True)
class Usage:
    """How many tokens a request and its answer have."""

    prompt: int
    completion: int

    def json(self) -> Json:
        """Render as OpenAI does."""
        return {
            "prompt_tokens": self.prompt,
            "total_tokens": self.prompt + self.completion,
            "completion_tokens": self.completion,
        }


@dataclass(frozen=True)
class Reply:
    """What the model says: tokens of text or a tool call, why it stopped, what it cost."""

    model: str
    tokens: tuple[str, ...]
    tool_call: ToolCall | None
    finish_reason: str
    usage: Usage

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.tokens)


def identifier(prefix: str, body: bytes) -> str:
    """Make an id that looks random and depends on the request alone."""
    return f"{prefix}-{sha256(body).hexdigest()[:32]}"


def chat_completion(reply: Reply, request_id: str) -> Json:
    """Render a whole answer to a chat."""
    message: Json = {"role": "assistant", "content": reply.text, "tool_calls": []}
    if reply.tool_call is not None:
        message["content"] = None
        message["tool_calls"] = [
            {
                "id": f"call-{request_id[-8:]}",
                "type": "function",
                "function": {
                    "name": reply.tool_call.name,
                    "arguments": reply.tool_call.arguments,
                },
            }
        ]
    choice = {
        "index": 0,
        "message": message,
        "logprobs": None,
        "finish_reason": reply.finish_reason,
        "stop_reason": None,
    }
    head = _head(request_id, "chat.completion", reply.model)
    return {**head, "choices": [choice], "usage": reply.usage.json()}


def chat_chunks(reply: Reply, request_id: str, *, include_usage: bool) -> Iterator[Json]:
    """Render an answer to a chat in pieces: the role, then words or a tool call, then the end."""
    head = _head(request_id, "chat.completion.chunk", reply.model)

    def chunk(delta: Json, finish_reason: str | None = None) -> Json:
        choice: Json = {"index": 0, "delta": delta, "logprobs": None}
        choice["finish_reason"] = finish_reason
        return {**head, "choices": [choice]}

    yield chunk({"role": "assistant", "content": ""})
    for token in reply.tokens:
        yield chunk({"content": token})
    if reply.tool_call is not None:
        start = {
            "id": f"call-{request_id[-8:]}",
            "type": "function",
            "index": 0,
            "function": {"name": reply.tool_call.name, "arguments": ""},
        }
        yield chunk({"tool_calls": [start]})
        for piece in reply.tool_call.argument_pieces():
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
    yield chunk({"content": ""} if reply.tool_call is None else {}, reply.finish_reason)
    if include_usage:
        yield {**head, "choices": [], "usage": reply.usage.json()}


def text_completion(replies: list[Reply], request_id: str) -> Json:
    """Render whole answers to the prompts of a completion."""
    choices = [
        _text_choice(index, reply.text, reply.finish_reason) for index, reply in enumerate(replies)
    ]
    head = _head(request_id, "text_completion", replies[0].model)
    return {**head, "choices": choices, "usage": _total(replies).json()}


def text_chunks(replies: list[Reply], request_id: str, *, include_usage: bool) -> Iterator[Json]:
    """Render answers to the prompts of a completion in pieces."""
    head = _head(request_id, "text_completion", replies[0].model)
    for index, reply in enumerate(replies):
        for token in reply.tokens:
            yield {**head, "choices": [_text_choice(index, token, None)]}
        yield {**head, "choices": [_text_choice(index, "", reply.finish_reason)]}
    if include_usage:
        yield {**head, "choices": [], "usage": _total(replies).json()}


def error(status: int, kind: str, message: str, param: str | None = None) -> Json:
    """Render an error as vLLM does."""
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


def dumps(value: Json) -> str:
    """Write compact JSON, with characters as they are, as vLLM does."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _head(request_id: str, kind: str, model: str) -> Json:
    return {"id": request_id, "object": kind, "created": _CREATED, "model": model}


def _text_choice(index: int, text: str, finish_reason: str | None) -> Json:
    return {
        "index": index,
        "text": text,
        "logprobs": None,
        "finish_reason": finish_reason,
        "stop_reason": None,
    }


def _total(replies: list[Reply]) -> Usage:
    return Usage(
        sum(reply.usage.prompt for reply in replies),
        sum(reply.usage.completion for reply in replies),
    )
