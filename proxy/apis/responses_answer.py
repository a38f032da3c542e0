"""Makes an answer of OpenAI's Responses API of a whole chat completion."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from proxy.apis.chat import ChatUsage, Message, encode, read_completion
from proxy.apis.responses_tools import Tools
from proxy.dialects.base import count
from proxy.errors import InvalidRequest, ProxyError, RateLimited, UpstreamFailed

Json = dict[str, Any]

COMPLETED, INCOMPLETE, IN_PROGRESS, FAILED = "completed", "incomplete", "in_progress", "failed"

# Why an answer is not complete, by the chat's word for it.
_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}


class Head:
    """What all forms of one answer share: its id, its time, and what its request said."""

    def __init__(self, echo: Mapping[str, Any]) -> None:
        self._id = uuid.uuid4().hex
        self._created = int(time.time())
        self._echo = echo

    def item_id(self, prefix: str, index: int) -> str:
        """The id of the item at ``index`` of the output."""
        return f"{prefix}_{self._id}{index:04x}"

    def response(
        self,
        status: str,
        output: Sequence[Json],
        usage: ChatUsage | None = None,
        *,
        reason: str | None = None,
        error: ProxyError | None = None,
    ) -> Json:
        """The answer as it is now; ``reason`` is why it is not complete."""
        return {
            "id": f"resp_{self._id}",
            "object": "response",
            "created_at": self._created,
            "completed_at": int(time.time()) if status == COMPLETED else None,
            "status": status,
            "error": error_json(error) if error else None,
            "incomplete_details": {"reason": reason} if reason else None,
            **self._echo,
            "output": output,
            "usage": usage_json(usage),
        }


def whole(completion: bytes, echo: Mapping[str, Any], tools: Tools) -> bytes:
    """The answer. Raises ``UpstreamFailed`` if ``completion`` is none, or a call has no name."""
    chat, choice, message = read_completion(completion)
    status, reason = ending(choice.finish_reason)
    head = Head(echo)
    output = _output(head, message, tools)
    if reason:
        output[-1]["status"] = status
    return encode(head.response(status, output, chat.usage, reason=reason))


def ending(finish_reason: str | None) -> tuple[str, str | None]:
    """The status of an answer that has ended, and why it is not complete."""
    reason = _REASONS.get(finish_reason or "")
    return (INCOMPLETE if reason else COMPLETED), reason


def usage_json(usage: ChatUsage | None) -> Json | None:
    """The counts as the container told them; None unless it told both."""
    if usage is None or count(usage.prompt) is None or count(usage.completion) is None:
        return None
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def error_json(error: ProxyError) -> Json:
    """A failure, under the codes that the API has for those of an answer."""
    code = "server_error"
    if error.status == RateLimited.status:
        code = RateLimited.code or code
    elif error.status < UpstreamFailed.status and error.type == InvalidRequest.type:
        code = "invalid_prompt"
    return {"code": code, "message": error.shown_message}


# --- items ---------------------------------------------------------------------------------------


def text_part(text: str) -> Json:
    """A text of a message."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def refusal_part(text: str) -> Json:
    """What the model says in place of an answer."""
    return {"type": "refusal", "refusal": text}


def reasoning_part(text: str) -> Json:
    """What the model reasons."""
    return {"type": "reasoning_text", "text": text}


def message_item(item_id: str, status: str, content: Sequence[Json]) -> Json:
    """A message."""
    return {
        "id": item_id,
        "type": "message",
        "status": status,
        "role": "assistant",
        "content": content,
    }


def reasoning_item(item_id: str, status: str, content: Sequence[Json]) -> Json:
    """Reasoning, which is told as it is: neither in short nor encrypted."""
    return {
        "id": item_id,
        "type": "reasoning",
        "status": status,
        "summary": [],
        "content": content,
        "encrypted_content": None,
    }


def call_item(
    item_id: str, status: str, call_id: str, name: tuple[str | None, str], arguments: str
) -> Json:
    """A call of a function, of which ``name`` has the namespace, too."""
    namespace, own = name
    item: Json = {
        "id": item_id,
        "type": "function_call",
        "status": status,
        "call_id": call_id,
        "name": own,
        "arguments": arguments,
    }
    if namespace is not None:
        item["namespace"] = namespace
    return item


def new_call_id() -> str:
    """The id of a call to which the container has given none."""
    return f"call_{uuid.uuid4().hex}"


def _output(head: Head, message: Message, tools: Tools) -> list[Json]:
    output: list[Json] = []
    if thought := message.thought:
        item_id = head.item_id("rs", len(output))
        output.append(reasoning_item(item_id, COMPLETED, [reasoning_part(thought)]))
    content = [text_part(message.content)] if message.content else []
    if message.refusal:
        content.append(refusal_part(message.refusal))
    if not content and not output and not message.tool_calls:
        content = [text_part("")]
    if content:
        output.append(message_item(head.item_id("msg", len(output)), COMPLETED, content))
    for call in message.tool_calls or ():
        if call.function is None or not call.function.name:
            raise UpstreamFailed("the model calls a function without its name")
        item_id = head.item_id("fc", len(output))
        name = tools.known_as(call.function.name)
        arguments = call.function.arguments or ""
        output.append(call_item(item_id, COMPLETED, call.id or new_call_id(), name, arguments))
    return output
