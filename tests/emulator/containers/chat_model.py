"""The demo's chat model: from a request's JSON to the reply, without any HTTP."""

from collections.abc import Mapping
from typing import Any

from tests.emulator.containers import tools, wording
from tests.emulator.containers.openai_shapes import Reply, Usage
from tests.emulator.containers.tools import ToolCall


class RequestError(Exception):
    """A request that vLLM would refuse, with its status, type and parameter."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.param = param


class ChatModel:
    """A deterministic model under one or more served names."""

    def __init__(self, served_names: tuple[str, ...]) -> None:
        self._served_names = served_names

    def chat(self, body: Mapping[str, Any]) -> Reply:
        """Answer the last message of a chat."""
        messages = _messages(body)
        prompt = sum(len(wording.tokens(_text(message))) for message in messages)
        question = _question(messages)
        last = messages[-1]
        if last["role"] == "tool":
            return self._say(body, wording.answer_to_tool(_text(last)), prompt)
        call = _tool_call(body, question)
        if call is not None:
            usage = Usage(prompt, len(call.argument_pieces()) + 1)
            return Reply(self._model(body), (), call, "tool_calls", usage)
        return self._say(body, wording.answer(question), prompt)

    def complete(self, body: Mapping[str, Any]) -> list[Reply]:
        """Answer each prompt of a completion."""
        prompt = body["prompt"]
        prompts = [prompt] if isinstance(prompt, str) else prompt
        if not _are_texts(prompts):
            message = "Either prompt or prompt_embeds must be provided and non-empty."
            raise RequestError(400, "BadRequestError", message, "prompt")
        return [
            self._say(body, wording.answer(text), len(wording.tokens(text))) for text in prompts
        ]

    def _say(self, body: Mapping[str, Any], text: str, prompt: int) -> Reply:
        model = self._model(body)
        words = wording.tokens(text)
        limit = _limit(body)
        finish_reason = "stop" if limit is None or limit >= len(words) else "length"
        spoken = tuple(words[:limit])
        return Reply(model, spoken, None, finish_reason, Usage(prompt, len(spoken)))

    def _model(self, body: Mapping[str, Any]) -> str:
        model = body.get("model")
        if not model:
            return self._served_names[0]
        if model not in self._served_names:
            message = f"The model `{model}` does not exist."
            raise RequestError(404, "NotFoundError", message, "model")
        return str(model)


def _messages(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    messages = body["messages"]
    if not isinstance(messages, list) or not messages:
        message = "messages: List should have at least 1 item after validation, not 0"
        raise RequestError(400, "BadRequestError", message, "messages")
    for index, item in enumerate(messages):
        if not isinstance(item, dict) or not isinstance(item.get("role"), str):
            message = f"messages.{index}.role: Field required"
            raise RequestError(400, "BadRequestError", message, "messages")
    return messages


def _question(messages: list[Mapping[str, Any]]) -> str:
    asked = [message for message in messages if message["role"] == "user"]
    return _text(asked[-1]) if asked else ""


def _text(message: Mapping[str, Any]) -> str:
    """Return a message's words, which may come in parts, with images between them."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(part["text"] for part in parts if part.get("type") == "text")


def _tool_call(body: Mapping[str, Any], question: str) -> ToolCall | None:
    offered = body.get("tools")
    if not offered:
        return None
    try:
        return tools.choose(offered, body.get("tool_choice", "auto"), question)
    except tools.ToolChoiceError as exc:
        raise RequestError(400, "BadRequestError", str(exc), "tool_choice") from exc
    except (KeyError, TypeError, AttributeError) as exc:
        message = "tools: each tool must be a function with a name and parameters"
        raise RequestError(400, "BadRequestError", message, "tools") from exc


def _limit(body: Mapping[str, Any]) -> int | None:
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if limit is None:
        return None
    if not isinstance(limit, int | float) or limit < 1 or limit != int(limit):
        message = f"max_tokens must be at least 1, got {limit}."
        raise RequestError(400, "BadRequestError", message, "max_tokens")
    return int(limit)


def _are_texts(prompts: object) -> bool:
    return (
        isinstance(prompts, list)
        and bool(prompts)
        and all(isinstance(text, str) for text in prompts)
    )
