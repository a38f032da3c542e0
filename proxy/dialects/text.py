"""Reads requests for text: prompts, stop sequences, and how to sample."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from proxy.dialects.chat_templates import Message, Template
from proxy.dialects.fields import Fields
from proxy.errors import InvalidRequest

_MOST_PROMPTS = 128
_MOST_PENALTY = 2


@dataclass(frozen=True, slots=True)
class TextRequest:
    """What a client asks of a model that writes text.

    ``parameters`` are the container's, under the names that TGI, LMI and the pipelines share.
    """

    prompts: tuple[str, ...]
    stops: tuple[str, ...]
    parameters: dict[str, object]
    stream: bool
    include_usage: bool


def read_completion(fields: Fields, options: Set[str] = frozenset()) -> TextRequest:
    """Read a completion. ``options`` are those fields that not every container has.

    Raises ``InvalidRequest``.
    """
    prompts = _prompts(fields)
    request = _read(fields, prompts, (), options)
    if request.stream and len(prompts) > 1:
        raise InvalidRequest(
            f"the dialect {fields.dialect!r} streams the answer to one prompt only", param="prompt"
        )
    return request


def read_chat(fields: Fields, template: Template, options: Set[str] = frozenset()) -> TextRequest:
    """Read a chat, and make a prompt of it. Raises ``InvalidRequest``."""
    prompt = template.render(_messages(fields))
    return _read(fields, (prompt,), template.ends, options)


def _read(
    fields: Fields, prompts: tuple[str, ...], ends: tuple[str, ...], options: Set[str]
) -> TextRequest:
    stream = fields.take_flag("stream")
    include_usage = fields.take_include_usage()
    stops = (*fields.take_stops(), *ends)
    parameters = _parameters(fields, options)
    fields.finish()
    return TextRequest(prompts, stops, parameters, stream, include_usage)


def _prompts(fields: Fields) -> tuple[str, ...]:
    value = fields.take("prompt")
    prompts = [value] if isinstance(value, str) else value
    if (
        not isinstance(prompts, list)
        or not 0 < len(prompts) <= _MOST_PROMPTS
        or not all(isinstance(prompt, str) and prompt for prompt in prompts)
    ):
        raise InvalidRequest(
            f"the dialect {fields.dialect!r} takes as 'prompt' a text or a list of up to "
            f"{_MOST_PROMPTS} texts, none of them empty",
            param="prompt",
        )
    return tuple(prompts)


def _messages(fields: Fields) -> list[Message]:
    value = fields.take("messages")
    if not isinstance(value, list) or not value:
        raise InvalidRequest("the field 'messages' must be a list with messages", param="messages")
    return [_message(item, index, fields.dialect) for index, item in enumerate(value)]


def _message(item: object, index: int, dialect: str) -> Message:
    param = f"messages.{index}"
    role = item.get("role") if isinstance(item, dict) else None
    if not isinstance(item, dict) or not isinstance(role, str):
        raise InvalidRequest(f"{param} must be an object with a role", param=param)
    role = "system" if role == "developer" else role
    if role not in ("system", "user", "assistant") or item.get("tool_calls"):
        raise InvalidRequest(
            f"the dialect {dialect!r} takes messages of system, user and assistant, without tool "
            "calls",
            param=param,
        )
    content = item.get("content")
    parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
    if not isinstance(parts, list) or not all(
        isinstance(part, dict) and part.get("type") == "text" and isinstance(part.get("text"), str)
        for part in parts
    ):
        raise InvalidRequest(
            f"the dialect {dialect!r} takes text alone as content", param=f"{param}.content"
        )
    return Message(role, "".join(part["text"] for part in parts))


def _parameters(fields: Fields, options: Set[str]) -> dict[str, object]:
    parameters: dict[str, object] = {"return_full_text": False}
    most = fields.take_integer("max_completion_tokens", 1)
    older = fields.take_integer("max_tokens", 1)
    if most is not None or older is not None:
        parameters["max_new_tokens"] = most if most is not None else older
    temperature = fields.take_number("temperature", 0, 2)
    top_p = fields.take_number("top_p", 0, 1)
    top_k = fields.take_integer("top_k", -1)
    if temperature == 0 or top_p == 0:  # which these containers refuse; it means: no sampling
        parameters["do_sample"] = False
    else:
        if temperature is not None:
            parameters |= {"do_sample": True, "temperature": temperature}
        if top_p is not None and top_p < 1:  # at 1 it changes nothing, and TGI refuses it
            parameters |= {"do_sample": True, "top_p": top_p}
        if top_k is not None and top_k > 0:  # vLLM's clients write 0 or -1 for: no limit
            parameters |= {"do_sample": True, "top_k": top_k}
    for name in ("frequency_penalty", "presence_penalty"):
        if name in options and (penalty := fields.take_number(name, -_MOST_PENALTY, _MOST_PENALTY)):
            parameters[name] = penalty
    if "seed" in options and (seed := fields.take_integer("seed", 0)) is not None:
        parameters["seed"] = seed
    if (repetition := fields.take_number("repetition_penalty", 0)) is not None:
        parameters["repetition_penalty"] = repetition
    return parameters
