"""What a request of OpenAI's Responses API may say here. All else is refused by its name.

Sources: OpenAI's API reference, "Create a model response", the types of its Python SDK, and what
Codex sends. Fields that are read and then have no effect ask for nothing that changes what the
model says: ``client_metadata``, ``prompt_cache_*``, ``safety_identifier``, ``service_tier``,
``user``, the summary of ``reasoning`` (no container writes one: the answer has the reasoning
itself), and ``max_tool_calls``, which bounds the tools that OpenAI runs.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Positive = Annotated[int, msgspec.Meta(ge=1)]
Name = Annotated[str, msgspec.Meta(min_length=1)]
Json = dict[str, msgspec.Raw]


class _Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


# --- tools ---------------------------------------------------------------------------------------


class _Function(_Strict):
    name: Name
    parameters: Json | None = None
    description: str | None = None
    strict: bool | None = None
    defer_loading: bool | None = None
    allowed_callers: list[Literal["direct"]] | None = None


class Function(_Function, tag="function"):
    """A function of the client's own."""


class SpacedFunction(_Function, kw_only=True):
    """The same in a namespace."""

    type: Literal["function"]


class Namespace(_Strict, tag="namespace"):
    """Functions under a name that they share."""

    name: Name
    tools: list[SpacedFunction]
    description: str | None = None


class FunctionChoice(_Strict, tag="function"):
    """The function to call."""

    name: Name


class AllowedFunction(_Strict):
    """A function that may be called."""

    type: Literal["function"]
    name: Name


class AllowedTools(_Strict, tag="allowed_tools"):
    """Those of the tools that may be called."""

    mode: Literal["auto", "required"]
    tools: list[AllowedFunction]


# --- the request ---------------------------------------------------------------------------------


class PlainFormat(_Strict, tag="text"):
    """Any text."""


class ObjectFormat(_Strict, tag="json_object"):
    """Any JSON object."""


class SchemaFormat(_Strict, tag="json_schema"):
    """JSON of this schema."""

    name: Name
    schema: Json
    description: str | None = None
    strict: bool | None = None


class Text(_Strict):
    """What the text of the answer has to be."""

    format: PlainFormat | ObjectFormat | SchemaFormat | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class ReasoningConfig(_Strict):
    """How much to reason."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: Literal["auto"] | None = None
    mode: Literal["standard"] | None = None


class StreamOptions(_Strict):
    """How to stream."""

    include_obfuscation: bool | None = None


class CacheOptions(_Strict):
    """What to keep of the prompt: the container has a cache of its own."""

    mode: Literal["implicit", "explicit"] | None = None
    ttl: str | None = None


class Request(_Strict):
    """A request for an answer."""

    model: str
    # Items are objects: else a list of millions of numbers would be taken apart to be refused.
    input: str | list[Json]
    instructions: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    tools: list[Function | Namespace] | None = None
    tool_choice: Literal["none", "auto", "required"] | FunctionChoice | AllowedTools | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: Positive | None = None
    temperature: float | None = None
    top_p: float | None = None
    text: Text | None = None
    reasoning: ReasoningConfig | None = None
    include: list[str] | None = None
    truncation: Literal["disabled"] | None = None
    top_logprobs: Literal[0] | None = None
    background: bool | None = None
    previous_response_id: str | None = None
    conversation: object = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    max_tool_calls: Positive | None = None
    service_tier: str | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    prompt_cache_options: CacheOptions | None = None
    client_metadata: object = None
