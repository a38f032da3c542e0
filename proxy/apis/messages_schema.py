"""What a request of Anthropic's Messages API may say here. All else is refused by its name.

Sources: Anthropic's API reference, "Messages", and the types of its Python SDK. Some fields are
read and have no effect, for they change nothing of what the model says: ``cache_control`` (a
container has a cache of its own), ``metadata``, ``service_tier``, ``citations`` of a text,
``eager_input_streaming``, and ``thinking``, for a model reasons or not as its container has it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Positive = Annotated[int, msgspec.Meta(ge=1)]
Name = Annotated[str, msgspec.Meta(min_length=1)]
Json = dict[str, msgspec.Raw]  # an object, to be passed on as it is


class _Strict(msgspec.Struct, forbid_unknown_fields=True):
    pass


class Text(_Strict, tag="text"):
    """A text."""

    text: str
    cache_control: object = None
    citations: object = None


class Base64Source(_Strict, tag="base64"):
    """An image in the request."""

    media_type: str
    data: str


class UrlSource(_Strict, tag="url"):
    """An image that the container fetches."""

    url: str


class Image(_Strict, tag="image"):
    """An image."""

    source: Base64Source | UrlSource
    cache_control: object = None


class Thinking(_Strict, tag="thinking"):
    """What the model reasoned in an earlier turn. The signature is one that an answer had."""

    thinking: str
    signature: str = ""


class Caller(_Strict):
    """Who has called a tool: the model itself."""

    type: Literal["direct"]


class ToolUse(_Strict, tag="tool_use"):
    """A call that the model made."""

    id: str
    name: str
    input: Json
    cache_control: object = None
    caller: Caller | None = None


class ToolResult(_Strict, tag="tool_result"):
    """What came of a call."""

    tool_use_id: str
    content: str | list[Text | Image] | None = None
    is_error: bool | None = None
    cache_control: object = None


class User(_Strict, tag="user", tag_field="role"):
    """A message of the user's, or with the results of calls."""

    content: str | list[Text | Image | ToolResult]


class Assistant(_Strict, tag="assistant", tag_field="role"):
    """A message of the model's."""

    content: str | list[Text | Thinking | ToolUse]


class System(_Strict, tag="system", tag_field="role"):
    """An instruction between messages."""

    content: str | list[Text]


class Tool(_Strict):
    """A tool of the client's own. Those that Anthropic runs or defines have another ``type``."""

    name: Name
    input_schema: Json
    description: str | None = None
    strict: bool | None = None
    type: Literal["custom"] | None = None
    cache_control: object = None
    eager_input_streaming: bool | None = None
    defer_loading: Literal[False] | None = None
    allowed_callers: list[Literal["direct"]] | None = None


class ToolChoice(_Strict):
    """Whether to call a tool."""

    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class JsonFormat(_Strict):
    """What the answer has to be."""

    type: Literal["json_schema"]
    schema: Json


class OutputConfig(_Strict):
    """How to answer."""

    format: JsonFormat | None = None
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None


class ThinkingConfig(msgspec.Struct):
    """Whether to reason, and how much."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]


class Edit(_Strict):
    """A change to the conversation: only the one that changes nothing."""

    type: Literal["clear_thinking_20251015"]
    keep: Literal["all"]


class ContextManagement(_Strict):
    """Changes to the conversation before the model reads it."""

    edits: list[Edit] = []


class CountRequest(_Strict, kw_only=True):
    """A request to count, which has what the prompt is made of."""

    model: str
    messages: Annotated[list[User | Assistant | System], msgspec.Meta(min_length=1)]
    system: str | list[Text] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    output_config: OutputConfig | None = None
    thinking: ThinkingConfig | None = None
    context_management: ContextManagement | None = None
    cache_control: object = None
    container: None = None
    diagnostics: None = None
    inference_geo: None = None
    mcp_servers: None = None
    thread: None = None


class Request(CountRequest, kw_only=True):
    """A request for an answer."""

    max_tokens: Positive
    stream: bool | None = None
    stop_sequences: list[str] | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    metadata: object = None
    service_tier: Literal["auto", "standard_only"] | None = None
