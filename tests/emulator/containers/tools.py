"""Decides whether the chat model calls a tool, and makes up arguments that fit its schema."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_PIECE = 7


@dataclass(frozen=True)
class ToolCall:
    """A tool's name and its arguments as JSON text."""

    name: str
    arguments: str

    def argument_pieces(self) -> list[str]:
        """Cut the arguments as a model's tokens would."""
        text = self.arguments
        return [text[start : start + _PIECE] for start in range(0, len(text), _PIECE)]


class ToolChoiceError(ValueError):
    """The request asks for a tool that it does not offer."""


def choose(tools: list[Mapping[str, Any]], choice: Any, question: str) -> ToolCall | None:
    """Return the call to make: the tool that is asked for, or one the question mentions."""
    functions = [tool["function"] for tool in tools]
    wanted: Mapping[str, Any] | None
    if choice == "none":
        return None
    if isinstance(choice, Mapping):
        name = choice["function"]["name"]
        wanted = next((function for function in functions if function["name"] == name), None)
        if wanted is None:
            raise ToolChoiceError(f"The tool specified in `tool_choice` does not exist: {name}")
    else:
        wanted = next((item for item in functions if _mentions(question, item["name"])), None)
        if wanted is None and choice == "required":
            wanted = functions[0]
    if wanted is None:
        return None
    schema = wanted.get("parameters") or {"type": "object"}
    arguments = _example(schema, "", question, schema)
    return ToolCall(wanted["name"], json.dumps(arguments, ensure_ascii=False))


def _mentions(question: str, name: str) -> bool:
    spoken = question.lower()
    return name.lower() in spoken or name.lower().replace("_", " ") in spoken


def _example(
    schema: Mapping[str, Any], name: str, question: str, root: Mapping[str, Any]
) -> object:
    schema = _resolved(schema, root)
    if "enum" in schema:
        return _enumerated(schema["enum"], question)
    for constant in ("const", "default"):
        if constant in schema:
            value: object = schema[constant]
            return value
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next((item for item in kind if item != "null"), "null")
    match kind:
        case "object":
            properties = schema.get("properties", {})
            return {key: _example(item, key, question, root) for key, item in properties.items()}
        case "array":
            return [_example(schema.get("items", {}), name, question, root)]
        case "integer" | "number":
            return _number(schema, question, whole=kind == "integer")
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return _text(name, question)


def _resolved(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow a reference into the schema's definitions, and the first choice that is not null."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        found: Any = root
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
        return _resolved(found, root)
    for several in ("anyOf", "oneOf", "allOf"):
        choices = [item for item in schema.get(several, []) if item.get("type") != "null"]
        if choices:
            return _resolved(choices[0], root)
    return schema


def _enumerated(choices: list[object], question: str) -> object:
    spoken = question.lower()
    return next((item for item in choices if str(item).lower() in spoken), choices[0])


def _number(schema: Mapping[str, Any], question: str, *, whole: bool) -> float:
    pattern = r"-?\d+" if whole else r"-?\d+(?:\.\d+)?"
    found = re.search(pattern, question)
    value = float(found[0]) if found else 1.0
    value = max(value, schema.get("minimum", value))
    value = min(value, schema.get("maximum", value))
    return int(value) if whole else value


def _text(name: str, question: str) -> str:
    """Take the last proper noun, as in "the weather in Paris", or at least something."""
    nouns = re.findall(r"(?<=[^.?!] )[^\W\d_a-z]\w+", question)
    return nouns[-1] if nouns else name or "example"
