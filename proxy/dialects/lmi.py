"""The dialect of AWS's Large Model Inference containers, which run DJL Serving.

A chat is OpenAI's own, but streamed as JSON lines, and in older versions with words of its own for
the end; text is asked for with ``inputs``. Since version 15, vLLM's server is inside: it wants the
name of its model or an empty one, and its whole answer to a text names as reason what has stopped
it, a text or a token's number, and nothing where that was the limit. Sources: DJL's "LMI handlers
Inference API Schema", "Chat Completions API Schema", and its vLLM handler.
"""

from __future__ import annotations

from functools import partial

import msgspec

from proxy import sse
from proxy.dialects.base import (
    Operation,
    Rendered,
    Settings,
    Usage,
    Whole,
    count,
    refuse_operation,
    unexpected,
)
from proxy.dialects.chunks import Choices, Chunk, read_chunk
from proxy.dialects.fields import Fields
from proxy.dialects.generation import Piece, render_text, text_of
from proxy.dialects.lines import LineStream
from proxy.dialects.openai import read_stream, with_model
from proxy.dialects.shapes import DONE as DONE_EVENT
from proxy.dialects.shapes import Head, Json, encode
from proxy.dialects.text import read_completion
from proxy.errors import UpstreamFailed

NAME = "lmi"

_OPTIONS = frozenset({"frequency_penalty", "presence_penalty", "seed"})

_DEFAULT_TOKENS = 30

# What makes a chat's answer worth a look. A quote inside a string would be escaped.
_OWN_WORDS = (b'"eos_token"', b'"stop_sequence"', b'"error"', b'"logprobs":[', b'"logprobs": [')


def render(body: bytes, operation: Operation, *, model: str, settings: Settings) -> Rendered:
    """A chat as it is, but for the model's name; else a body for each prompt.

    Raises ``InvalidRequest``.
    """
    if operation is Operation.CHAT:
        stream = read_stream(body)
        if settings.served_model is not None:
            body = with_model(body, settings.served_model)
        return Rendered([body], _ChatStream(model) if stream else _ChatWhole(model))
    if operation is not Operation.COMPLETIONS:
        raise refuse_operation(NAME, operation)
    request = read_completion(Fields(body, NAME), _OPTIONS)
    head = Head.new(operation, model)
    stops = {"stop_sequences": request.stops}
    read = partial(_read_whole, request.parameters.get("max_new_tokens", _DEFAULT_TOKENS))
    return render_text(NAME, head, request, stops, read, _read_line)


def _read_whole(limit: object, said: object) -> Piece:
    answer = said[0] if isinstance(said, list) else said
    if not isinstance(answer, dict):
        raise TypeError("no object")
    text = text_of(answer["generated_text"])
    reason, usage = _end(answer.get("details") or {})
    if not reason and usage is not None and usage.completion_tokens == limit:
        reason = "length"
    return Piece(text, reason, usage)


def _read_line(said: object) -> Piece:
    if not isinstance(said, dict):
        raise TypeError("no object")
    token = said["token"]
    text = "" if token.get("special_token") else text_of(token["text"])
    details = said.get("details")
    if details is None and said.get("generated_text") is None:
        return Piece(text)
    reason, usage = _end(details or {})
    if reason == "error":
        raise _failed()
    return Piece(text, reason, usage)


def _end(details: Json) -> tuple[str, Usage | None]:
    reason = details.get("finish_reason") or details.get("finish reason") or ""
    generated = count(details.get("generated_tokens"))
    if generated is None:  # there are no details, or of a failure
        if reason == "error":
            raise _failed()
        return str(reason), None
    return str(reason), Usage(count(details.get("input_length")), generated)


def _failed() -> UpstreamFailed:
    return UpstreamFailed("the model failed while it wrote the answer")


class _ChatWhole(Whole):
    """Passes an answer on as it is, unless it has words of its own or names no model."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._answer = b""

    def take(self, number: int, body: bytes) -> None:
        self._answer, chunk = _in_openai_words(body, self._model)
        self.usage = chunk.usage

    def end(self) -> bytes:
        return self._answer


class _ChatStream(LineStream):
    """Makes an event of each line."""

    def __init__(self, model: str) -> None:
        super().__init__()
        self._model = model
        self._choices = Choices()

    def _take(self, payload: bytes) -> None:
        event, chunk = _in_openai_words(payload, self._model)
        self._choices.note(chunk.choices)
        self.usage = chunk.usage or self.usage
        self._send(sse.event(event))

    def _conclude(self) -> None:
        # JSON lines have no mark for the end.
        self._choices.check_ended()
        self._send(DONE_EVENT)


def _in_openai_words(body: bytes, model: str) -> tuple[bytes, Chunk]:
    """An answer or a chunk, bytes as they were where they are OpenAI's, and what it says.

    Raises ``ProxyError``.
    """
    try:
        chunk = read_chunk(body)
        if chunk and chunk.model and not any(words in body for words in _OWN_WORDS):
            return body, chunk
        answer = msgspec.json.decode(body)
        for choice in answer["choices"]:
            _repair(choice)
        answer["model"] = answer.get("model") or model
        repaired = encode(answer)
        if (chunk := read_chunk(repaired)) is None:
            raise TypeError("no chunk")
    except (LookupError, TypeError, AttributeError) as exc:
        raise unexpected(NAME, "it has no choices") from exc
    except (ValueError, RecursionError) as exc:
        raise unexpected(NAME, "it is not valid JSON") from exc
    return repaired, chunk


def _repair(choice: Json) -> None:
    reason = choice.get("finish_reason")
    if reason == "error":
        raise _failed()
    if reason in ("eos_token", "stop_sequence"):
        choice["finish_reason"] = "stop"
    logprobs = choice.get("logprobs")
    if isinstance(logprobs, list):  # in chunks a list around OpenAI's object
        choice["logprobs"] = logprobs[0] if logprobs else None
