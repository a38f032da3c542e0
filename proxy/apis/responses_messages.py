"""Makes a chat's messages of the items that are the input of the Responses API.

Items of one side that follow each other are one message. What a chat has no word for is put into
those that it has: instructions of the developer's are the system's, as long as nothing else is
before them, and then the user's, in ``<system-reminder>``; images in what came of a call follow it
in a message of the user's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, takewhile
from typing import Any, TypeGuard

import msgspec

from proxy.apis import responses_item_schema as schema
from proxy.apis.chat import encode
from proxy.apis.requests import decode_request, unsupported
from proxy.apis.responses_schema import Request
from proxy.apis.responses_tools import chat_name
from proxy.errors import InvalidRequest

Json = dict[str, Any]
Part = schema.InputText | schema.InputImage

_kind = msgspec.json.Decoder(schema.Kind)
_message = msgspec.json.Decoder(schema.Message)
_assistant_message = msgspec.json.Decoder(schema.Assistant)
_ITEMS: dict[str, msgspec.json.Decoder[Any]] = {
    "reasoning": msgspec.json.Decoder(schema.Reasoning),
    "function_call": msgspec.json.Decoder(schema.FunctionCall),
    "function_call_output": msgspec.json.Decoder(schema.FunctionCallOutput),
}

_USER, _ASSISTANT = "user", "assistant"


def messages_of(request: Request) -> list[Json]:
    """The chat's messages. Raises ``InvalidRequest``."""
    if isinstance(request.input, str):
        items: list[schema.Item] = [schema.Message(role="user", content=request.input)]
    else:
        items = [_item(f"input.{number}", item) for number, item in enumerate(request.input)]
    if not items:
        raise InvalidRequest("input is empty", param="input")
    leading: list[Any] = list(takewhile(_instructs, items))
    instructions = [request.instructions] if request.instructions else []
    instructions += [_text(_parts(item.content)) for item in leading]
    messages: list[Json] = []
    if instructions:
        messages.append({"role": "system", "content": "\n\n".join(instructions)})
    for is_models, group in groupby(items[len(leading) :], _is_models):
        turn: list[Any] = list(group)
        messages += [_assistant(turn)] if is_models else _user(turn)
    return messages


def _item(place: str, fields: Json) -> schema.Item:
    data = encode(fields)
    kind = decode_request(_kind, data, place)
    if kind.type == "message":
        decoder: msgspec.json.Decoder[Any] = _message
        if kind.role == _ASSISTANT:
            decoder = _assistant_message
    elif kind.type in _ITEMS:
        decoder = _ITEMS[kind.type]
    else:
        why = f"a chat has no item {kind.type[:100]!r}"
        if kind.type == "item_reference":
            why = "nothing is stored here; send the item itself"
        raise unsupported(f"{place}.type", why)
    item: schema.Item = decode_request(decoder, data, place)
    if isinstance(item, schema.Reasoning) and item.encrypted_content and not item.content:
        raise unsupported(f"{place}.encrypted_content", "only who has encrypted it can read it")
    if _instructs(item):
        _refuse_images(f"{place}.content", _parts(item.content))
    return item


def _refuse_images(place: str, parts: Sequence[Part]) -> None:
    for number, part in enumerate(parts):
        if isinstance(part, schema.InputImage):
            raise unsupported(f"{place}.{number}.type", "instructions of a chat are texts")


def _instructs(item: schema.Item) -> TypeGuard[schema.Message]:
    return isinstance(item, schema.Message) and item.role != _USER


def _is_models(item: schema.Item) -> bool:
    return isinstance(item, schema.Assistant | schema.Reasoning | schema.FunctionCall)


def _user(turn: Iterable[schema.Message | schema.FunctionCallOutput]) -> Iterator[Json]:
    """What came of calls first, for it has to follow the calls at once."""
    rest: list[Part] = []
    for item in turn:
        if _instructs(item):
            rest.append(_reminder(item))
        elif isinstance(item, schema.Message):
            rest += _parts(item.content)
        else:
            parts = _parts(item.output)
            yield {"role": "tool", "tool_call_id": item.call_id, "content": _text(parts)}
            rest += [part for part in parts if isinstance(part, schema.InputImage)]
    if any(isinstance(part, schema.InputImage) for part in rest):
        yield {"role": "user", "content": [_part(part) for part in rest]}
    elif rest:
        yield {"role": "user", "content": _text(rest)}


def _assistant(turn: Iterable[schema.Assistant | schema.Reasoning | schema.FunctionCall]) -> Json:
    thoughts, texts, calls = [], [], []
    for item in turn:
        if isinstance(item, schema.Assistant):
            texts.append(_text(_parts(item.content)))
        elif isinstance(item, schema.Reasoning):
            thoughts += [part.text for part in item.content or item.summary]
        else:
            function = {
                "name": chat_name(item.namespace, item.name),
                "arguments": item.arguments,
            }
            calls.append({"id": item.call_id, "type": "function", "function": function})
    message: Json = {"role": "assistant", "content": "\n".join(texts)}
    if thoughts:
        message["reasoning_content"] = "\n".join(thoughts)
    if calls:
        message["content"] = message["content"] or None
        message["tool_calls"] = calls
    return message


def _reminder(item: schema.Message) -> schema.InputText:
    """Templates know of one system message, the first; agents mark others so in their prompts."""
    text = _text(_parts(item.content))
    return schema.InputText(text=f"<system-reminder>\n{text}\n</system-reminder>")


def _parts(content: str | Sequence[Any]) -> Sequence[Any]:
    return [schema.InputText(text=content)] if isinstance(content, str) else content


def _text(parts: Iterable[Any]) -> str:
    return "\n".join(part.text for part in parts if not isinstance(part, schema.InputImage))


def _part(part: Part) -> Json:
    if isinstance(part, schema.InputText):
        return {"type": "text", "text": part.text}
    image = {"url": part.image_url}
    if part.detail is not None:
        image["detail"] = part.detail
    return {"type": "image_url", "image_url": image}
