"""Makes an answer of Anthropic's Messages API of a whole chat completion."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import msgspec

from proxy.apis.chat import ChatUsage, Choice, Message, ToolCall, encode, read_completion
from proxy.errors import InvalidRequest, UpstreamFailed

Json = dict[str, Any]

_STOP_REASONS = {"length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}

_arguments = msgspec.json.Decoder(dict[str, msgspec.Raw])


def new_id() -> str:
    """A message's."""
    return f"msg_{uuid.uuid4().hex}"


def head(message_id: str, model: str, content: Sequence[Json]) -> Json:
    """What begins a message."""
    return {
        "id": message_id,
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": content,
    }


def whole(completion: bytes, model: str, stops: Sequence[str]) -> bytes:
    """The answer, under the model's name that the client knows.

    ``stops`` are the sequences at which the client has it stop. Raises ``UpstreamFailed`` if
    ``completion`` is none, or a call has arguments that are no JSON object.
    """
    chat, choice, message = read_completion(completion)
    message_id = new_id()
    answer = head(message_id, model, _content(message, choice, message_id))
    answer |= ending(choice, stops, calls=bool(message.tool_calls), refuses=bool(message.refusal))
    answer["usage"] = usage_json(chat.usage)
    return encode(answer)


def count(completion: bytes) -> bytes:
    """How long the prompt was, out of the answer to it.

    Raises ``InvalidRequest`` if the container does not tell.
    """
    usage = read_completion(completion)[0].usage
    if usage is None or not usage.tells_prompt:
        message = "this model's container does not tell how many tokens a prompt has"
        raise InvalidRequest(message, param="model")
    return encode({"input_tokens": usage.prompt_tokens})


def ending(choice: Choice | None, stops: Sequence[str], *, calls: bool, refuses: bool) -> Json:
    """Why the model stopped: ``stop_reason`` and ``stop_sequence``."""
    reason = (choice and choice.finish_reason) or "stop"
    sequence = choice.stop_sequence if choice else None
    if reason == "stop" and sequence in stops:
        return {"stop_reason": "stop_sequence", "stop_sequence": sequence}
    told = _STOP_REASONS.get(reason, "end_turn")
    if told == "end_turn" and (calls or refuses):
        # Servers say "stop" of a call that the client has chosen.
        told = "tool_use" if calls else "refusal"
    return {"stop_reason": told, "stop_sequence": None}


def usage_json(usage: ChatUsage | None) -> Json:
    """The counts as the container told them; 0 for those that it did not.

    ``input_tokens`` are those that were not read from the container's cache.
    """
    usage = usage or ChatUsage()
    counts: Json = {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }
    if usage.reasoning_tokens:
        counts["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return counts


def thinking(thought: str, signature: str) -> Json:
    """A block of reasoning. Nobody verifies the signature; clients keep no block without one."""
    return {"type": "thinking", "thinking": thought, "signature": signature}


def tool_use(call_id: str | None, name: str, arguments: Json) -> Json:
    """A block that calls a tool."""
    call_id = call_id or f"toolu_{uuid.uuid4().hex}"
    return {"type": "tool_use", "id": call_id, "name": name, "input": arguments}


def _content(message: Message, choice: Choice, signature: str) -> list[Json]:
    content: list[Json] = []
    if thought := message.thought:
        content.append(thinking(thought, signature))
    for text in (message.content, message.refusal):
        if text:
            content.append({"type": "text", "text": text})
    for call in message.tool_calls or ():
        block = _tool_use(call)
        if block is not None:
            content.append(block)
        elif choice.finish_reason != "length":  # which says of itself that something is missing
            raise UpstreamFailed("the model calls a tool with arguments that are no JSON object")
    return content


def _tool_use(call: ToolCall) -> Json | None:
    function = call.function
    if function is None or not function.name:
        return None
    try:
        arguments = _arguments.decode(function.arguments or "{}")
    except (ValueError, RecursionError):
        return None
    return tool_use(call.id, function.name, arguments)
