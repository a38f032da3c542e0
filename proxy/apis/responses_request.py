"""Makes a chat of a request of OpenAI's Responses API."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from proxy.apis import responses_schema as schema
from proxy.apis.chat import encode
from proxy.apis.requests import decode_request, unsupported
from proxy.apis.responses_messages import messages_of
from proxy.apis.responses_tools import Tools
from proxy.errors import InvalidRequest

Json = dict[str, Any]

# What may be included is in the answer anyway, where it is there at all: the reasoning itself is.
_INCLUDED = "reasoning.encrypted_content"

_NOTHING_IS_STORED = "nothing is stored here; send the items of earlier turns in `input`"

_TOOL_TYPE = re.compile(r"tools\.\d+\.type")
_WHICH_TOOLS = "tools are functions of the client's own, so leave out those that OpenAI runs"

_request = msgspec.json.Decoder(schema.Request)


def read_request(body: bytes) -> schema.Request:
    """Raises ``InvalidRequest`` for what cannot be translated."""
    try:
        request = decode_request(_request, body)
    except InvalidRequest as error:
        if error.param and _TOOL_TYPE.fullmatch(error.param):
            message = f"{error.message}; {_WHICH_TOOLS}"
            raise InvalidRequest(message, param=error.param) from error
        raise
    for name in ("previous_response_id", "conversation"):
        if getattr(request, name) is not None:
            raise unsupported(name, _NOTHING_IS_STORED)
    if request.background:
        raise unsupported("background", "the answer is not kept for later")
    if request.stream_options and request.stream_options.include_obfuscation:
        raise unsupported("stream_options.include_obfuscation")
    for index, name in enumerate(request.include or ()):
        if name != _INCLUDED:
            raise unsupported(f"include.{index}", f"there is no {name[:100]!r}")
    return request


def chat_of(request: schema.Request, tools: Tools) -> bytes:
    """The chat's body. Raises ``InvalidRequest``."""
    chat: Json = {"model": request.model, "messages": messages_of(request)}
    chat |= tools.chat
    chat |= {
        name: value
        for name, value in (
            ("max_tokens", request.max_output_tokens),
            ("temperature", request.temperature),
            ("top_p", request.top_p),
            ("reasoning_effort", request.reasoning and request.reasoning.effort),
            ("response_format", request.text and _format(request.text.format)),
            ("verbosity", request.text and request.text.verbosity),
            ("stream", request.stream),
        )
        if value is not None
    }
    if request.stream:
        chat["stream_options"] = {"include_usage": True}
    return encode(chat)


def echo_of(request: schema.Request, values: Mapping[str, msgspec.Raw]) -> Json:
    """What an answer says of its request, whose fields have the ``values``."""
    effort = request.reasoning.effort if request.reasoning else None
    tells = request.parallel_tool_calls is not None
    return {
        "model": request.model,
        "background": False,
        "instructions": request.instructions,
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "metadata": request.metadata or {},
        "parallel_tool_calls": request.parallel_tool_calls if tells else True,
        "previous_response_id": None,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {"effort": effort, "summary": None},
        "safety_identifier": request.safety_identifier,
        "service_tier": "default",
        "store": False,
        "temperature": request.temperature,
        "text": _on_one_line(values["text"]) if request.text else {"format": {"type": "text"}},
        "tool_choice": _on_one_line(values["tool_choice"]) if request.tool_choice else "auto",
        "tools": _on_one_line(values["tools"]) if request.tools else [],
        "top_logprobs": 0,
        "top_p": request.top_p,
        "truncation": "disabled",
        "user": request.user,
    }


def _on_one_line(value: msgspec.Raw) -> msgspec.Raw:
    """Without its white space: a line's end in it would end the field of an event."""
    return msgspec.Raw(msgspec.json.format(value, indent=-1))


def _format(asked: schema.PlainFormat | schema.ObjectFormat | schema.SchemaFormat | None) -> object:
    if isinstance(asked, schema.ObjectFormat):
        return {"type": "json_object"}
    if not isinstance(asked, schema.SchemaFormat):
        return None  # any text, as without
    described: Json = {"name": asked.name, "schema": asked.schema}
    if asked.description is not None:
        described["description"] = asked.description
    if asked.strict is not None:
        described["strict"] = asked.strict
    return {"type": "json_schema", "json_schema": described}
