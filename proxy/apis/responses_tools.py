"""Makes a chat's tools of those of the Responses API, and knows them by both their names.

A namespace has no counterpart in a chat: its functions bear its name before their own there, and
the first of them its description.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from proxy.apis import responses_schema as schema
from proxy.apis.requests import unsupported
from proxy.errors import InvalidRequest

Json = dict[str, Any]


class Tools:
    """The tools of one request. ``chat`` has a chat's fields for them."""

    def __init__(self, request: schema.Request) -> None:
        """Raises ``InvalidRequest``."""
        self._names: dict[str, tuple[str | None, str]] = {}
        tools = [self._tool(*found) for found in _functions(request)]
        self.chat = self._choose(request.tool_choice, tools)
        if "tools" in self.chat and request.parallel_tool_calls is not None:
            self.chat["parallel_tool_calls"] = request.parallel_tool_calls

    def known_as(self, name: str) -> tuple[str | None, str]:
        """The namespace, if there is one, and the name of a function that a chat calls so."""
        return self._names.get(name, (None, name))

    def _tool(
        self,
        place: str,
        namespace: schema.Namespace | None,
        function: schema.Function | schema.SpacedFunction,
    ) -> Json:
        if function.defer_loading:
            raise unsupported(f"{place}.defer_loading", "a chat has all of its tools at once")
        space = namespace.name if namespace else None
        name = chat_name(space, function.name)
        if name in self._names:
            raise InvalidRequest(f"{place}.name is there twice", param=f"{place}.name")
        self._names[name] = space, function.name
        description = function.description
        if namespace and namespace.description and function is namespace.tools[0]:
            about = f"{namespace.name}: {namespace.description}"
            description = f"{about}\n\n{description}" if description else about
        described: Json = {"name": name}
        for key, value in (
            ("description", description),
            ("parameters", function.parameters),
            ("strict", function.strict),
        ):
            if value is not None:
                described[key] = value
        return {"type": "function", "function": described}

    def _choose(self, choice: object, tools: list[Json]) -> Json:
        mode = choice
        if isinstance(choice, schema.AllowedTools):
            allowed = {self._known(tool.name) for tool in choice.tools}
            tools = [tool for tool in tools if tool["function"]["name"] in allowed]
            mode = choice.mode
        elif isinstance(choice, schema.FunctionChoice):
            mode = {"type": "function", "function": {"name": self._known(choice.name)}}
        if tools:
            return {"tools": tools} if mode is None else {"tools": tools, "tool_choice": mode}
        if mode in (None, "none", "auto"):
            return {}
        raise InvalidRequest("tool_choice asks for a tool, and there is none", param="tool_choice")

    def _known(self, name: str) -> str:
        if name not in self._names:
            message = f"tool_choice names {name[:100]!r}, which is not among the tools"
            raise InvalidRequest(message, param="tool_choice")
        return name


def chat_name(namespace: str | None, name: str) -> str:
    """What a chat calls a function."""
    return f"{namespace}__{name}" if namespace else name


def _functions(
    request: schema.Request,
) -> Iterator[tuple[str, schema.Namespace | None, schema.Function | schema.SpacedFunction]]:
    """Each with where it is."""
    for number, tool in enumerate(request.tools or ()):
        if isinstance(tool, schema.Function):
            yield f"tools.{number}", None, tool
        else:
            for index, function in enumerate(tool.tools):
                yield f"tools.{number}.tools.{index}", tool, function
