"""What the items of the input of OpenAI's Responses API may say here.

As in ``responses_schema``, all else is refused by its name; ``annotations`` and ``phase`` have no
effect.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Status = Literal["in_progress", "completed", "incomplete"]


class _Strict(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    pass


class Kind(msgspec.Struct):
    """Which item this is. A message may leave its type out."""

    type: str = "message"
    role: str | None = None


class InputText(_Strict, tag="input_text"):
    """A text."""

    text: str
    prompt_cache_breakpoint: object = None


class InputImage(_Strict, tag="input_image"):
    """An image: a ``data:`` URL, or one that the container fetches. There is no store of files."""

    image_url: str
    detail: Literal["auto", "low", "high", "original"] | None = None
    file_id: None = None
    prompt_cache_breakpoint: object = None


class OutputText(_Strict, tag="output_text"):
    """A text of the model's."""

    text: str
    annotations: object = None
    logprobs: object = None


class Refusal(_Strict, tag="refusal"):
    """What the model said in place of an answer."""

    refusal: str

    @property
    def text(self) -> str:
        """The same, as a text."""
        return self.refusal


class Caller(_Strict):
    """Who has called a function: the model itself."""

    type: Literal["direct"]


class Message(_Strict):
    """A message of the user's, or an instruction."""

    role: Literal["user", "system", "developer"]
    content: str | list[InputText | InputImage]
    type: Literal["message"] = "message"
    id: str | None = None
    status: Status | None = None
    phase: object = None


class Assistant(_Strict):
    """A message of the model's."""

    role: Literal["assistant"]
    content: str | list[OutputText | Refusal | InputText]
    type: Literal["message"] = "message"
    id: str | None = None
    status: Status | None = None
    phase: object = None


class ReasoningText(_Strict):
    """What the model reasoned."""

    type: Literal["reasoning_text"]
    text: str


class SummaryText(_Strict):
    """The same in short."""

    type: Literal["summary_text"]
    text: str


class Reasoning(_Strict):
    """What the model reasoned in an earlier turn."""

    type: Literal["reasoning"]
    id: str | None = None
    summary: list[SummaryText] = []
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None
    status: Status | None = None


class FunctionCall(_Strict):
    """A call that the model made."""

    type: Literal["function_call"]
    call_id: str
    name: Annotated[str, msgspec.Meta(min_length=1)]
    arguments: str
    namespace: str | None = None
    id: str | None = None
    status: Status | None = None
    caller: Caller | None = None


class FunctionCallOutput(_Strict):
    """What came of a call."""

    type: Literal["function_call_output"]
    call_id: str
    output: str | list[InputText | InputImage]
    id: str | None = None
    name: str | None = None
    namespace: str | None = None
    status: Status | None = None
    caller: Caller | None = None


Item = Message | Assistant | Reasoning | FunctionCall | FunctionCallOutput
