"""Makes a chat of a request of Anthropic's Messages API.

What a chat has no word for is put into those that it has: a result of a call that failed begins
with "Error", images in a result follow it in a message of the user's, and so does an instruction
between messages, in ``<system-reminder>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

import msgspec

from proxy.apis import messages_schema as schema
from proxy.apis.chat import encode
from proxy.apis.requests import decode_request, unsupported
from proxy.errors import InvalidRequest

_request = msgspec.json.Decoder(schema.Request)
_count_request = msgspec.json.Decoder(schema.CountRequest)

# Chat knows three of the five.
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}

Json = dict[str, Any]


def read_request(body: bytes) -> schema.Request:
    """Raises ``InvalidRequest`` for what cannot be translated."""
    return decode_request(_request, body)


def read_count_request(body: bytes) -> schema.CountRequest:
    """The same for a request that asks how long its prompt is."""
    return decode_request(_count_request, body)


def chat_of(request: schema.Request) -> bytes:
    """The chat's body. Raises ``InvalidRequest``."""
    chat = {**_prompt_of(request), "max_tokens": request.max_tokens}
    for name in ("temperature", "top_p", "top_k"):
        if (value := getattr(request, name)) is not None:
            chat[name] = value
    if request.stop_sequences:
        chat["stop"] = request.stop_sequences
    if request.stream is not None:
        chat["stream"] = request.stream
    if request.stream:
        chat["stream_options"] = {"include_usage": True}
    return encode(chat)


def count_chat_of(request: schema.CountRequest) -> bytes:
    """The body of the shortest chat with the same prompt. Raises ``InvalidRequest``."""
    return encode({**_prompt_of(request), "max_tokens": 1})


def _prompt_of(request: schema.CountRequest) -> Json:
    chat: Json = {"model": request.model, "messages": list(_messages(request))}
    if request.tools:
        chat["tools"] = [_tool(tool, number) for number, tool in enumerate(request.tools)]
    chat |= _tool_choice(request)
    if (config := request.output_config) is not None:
        if config.format is not None:
            named = {"name": "answer", "schema": config.format.schema, "strict": True}
            chat["response_format"] = {"type": "json_schema", "json_schema": named}
        if config.effort is not None:
            chat["reasoning_effort"] = _EFFORTS[config.effort]
    return chat


# --- messages ------------------------------------------------------------------------------------


def _messages(request: schema.CountRequest) -> Iterator[Json]:
    if request.system:
        yield {"role": "system", "content": _text(_blocks(request.system))}
    if isinstance(request.messages[-1], schema.Assistant):
        place = f"messages.{len(request.messages) - 1}"
        raise unsupported(place, "a chat cannot go on with a message of the assistant's")
    number = 0
    # Turns of one side that follow each other are one.
    for is_models, turns in groupby(request.messages, lambda turn: type(turn) is schema.Assistant):
        place = f"messages.{number}"
        blocks: list[Any] = []
        for turn in turns:
            if isinstance(turn, schema.System):
                blocks.append(_reminder(turn))
            else:
                blocks += _blocks(turn.content)
            number += 1
        if is_models:
            yield _assistant(blocks)
        else:
            yield from _user(blocks, place)


def _reminder(turn: schema.System) -> schema.Text:
    """Templates know of one system message, the first; agents mark others so in their prompts."""
    return schema.Text(f"<system-reminder>\n{_text(_blocks(turn.content))}\n</system-reminder>")


def _blocks(content: str | Sequence[Any]) -> Sequence[Any]:
    return [schema.Text(content)] if isinstance(content, str) else content


def _text(blocks: Iterable[Any]) -> str:
    return "\n".join(block.text for block in blocks if isinstance(block, schema.Text))


def _user(blocks: Sequence[Any], place: str) -> Iterator[Json]:
    if not blocks:
        raise InvalidRequest(f"{place}.content is empty", param=f"{place}.content")
    rest: list[Any] = []
    for block in blocks:
        if isinstance(block, schema.ToolResult):
            content = _blocks(block.content or [])
            text = _text(content)
            if block.is_error and not text.lower().startswith("error"):
                text = f"Error: {text}" if text else "Error"
            yield {"role": "tool", "tool_call_id": block.tool_use_id, "content": text}
            rest += [part for part in content if isinstance(part, schema.Image)]
        else:
            rest.append(block)
    if any(isinstance(block, schema.Image) for block in rest):
        yield {"role": "user", "content": [_part(block) for block in rest]}
    elif rest:
        yield {"role": "user", "content": _text(rest)}


def _part(block: schema.Text | schema.Image) -> Json:
    if isinstance(block, schema.Text):
        return {"type": "text", "text": block.text}
    source = block.source
    if isinstance(source, schema.UrlSource):
        url = source.url
    else:
        url = f"data:{source.media_type};base64,{source.data}"
    return {"type": "image_url", "image_url": {"url": url}}


def _assistant(blocks: Sequence[Any]) -> Json:
    calls = [_call(block) for block in blocks if isinstance(block, schema.ToolUse)]
    thoughts = [block.thinking for block in blocks if isinstance(block, schema.Thinking)]
    message: Json = {"role": "assistant", "content": _text(blocks)}
    if thoughts:
        message["reasoning_content"] = "\n".join(thoughts)
    if calls:
        message["content"] = message["content"] or None
        message["tool_calls"] = calls
    return message


def _call(block: schema.ToolUse) -> Json:
    function = {"name": block.name, "arguments": encode(block.input).decode()}
    return {"id": block.id, "type": "function", "function": function}


# --- tools ---------------------------------------------------------------------------------------


def _tool(tool: schema.Tool, number: int) -> Json:
    if bytes(tool.input_schema.get("type", b"")) != b'"object"':
        place = f"tools.{number}.input_schema.type"
        raise InvalidRequest(f"{place} must be 'object'", param=place)
    function: Json = {"name": tool.name, "parameters": tool.input_schema}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(request: schema.CountRequest) -> Json:
    choice = request.tool_choice
    if choice is None:
        return {}
    if not request.tools:
        if choice.type in ("any", "tool"):
            raise InvalidRequest("tool_choice needs a tool in tools", param="tools")
        return {}
    if choice.type != "tool":
        chosen: Json = {"tool_choice": _CHOICES[choice.type]}
    elif choice.name is None:
        raise InvalidRequest("tool_choice.name is missing", param="tool_choice.name")
    else:
        chosen = {"tool_choice": {"type": "function", "function": {"name": choice.name}}}
    if choice.disable_parallel_tool_use is not None:
        chosen["parallel_tool_calls"] = not choice.disable_parallel_tool_use
    return chosen
